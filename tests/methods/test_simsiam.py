import jax
import jax.numpy as jnp
import numpy as np
import tiny
import torch_names
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core, nets, optim, schedules
from ssljax.methods.simsiam import SimSiam
from ssljax.nets.heads import MLP

PLAN = schedules.Plan(
  batch_size=256, num_examples=256, steps_per_epoch=1, total_steps=3
)
NAMES = {
  "encoder.body": "encoder/body",
  "encoder.fc.0": "projector/fc1",
  "encoder.fc.1": "projector/bn1",
  "encoder.fc.3": "projector/fc2",
  "encoder.fc.4": "projector/bn2",
  "encoder.fc.6": "projector/fc3",
  "encoder.fc.7": "projector/bn3",
  "predictor.0": "predictor/fc1",
  "predictor.1": "predictor/bn1",
  "predictor.3": "predictor/fc2",
}


def variables_of(o, prefix, step=None):
  """Without the bias in front of the last BatchNorm, which is frozen and cancels."""
  state_dict = torch_names.under(o, prefix)
  frozen = state_dict.pop("encoder.fc.6.bias", 0.0)
  if step is not None:
    state_dict = {k: v[step] for k, v in state_dict.items()}
    frozen = frozen[step]
  moved = 1 - 0.9 ** (2 * (step + 1)) if step is not None else 0.0  # two passes a step
  if "encoder.fc.7.running_mean" in state_dict:
    state_dict["encoder.fc.7.running_mean"] = (
      state_dict["encoder.fc.7.running_mean"] - moved * frozen
    )
  return torch_names.variables(state_dict, NAMES.get)


def test_every_step_has_the_official_loss_gradient_network_and_statistics():
  o = oracle("05_simsiam_full_0")
  hp = {k: float(v) for k, v in torch_names.under(o, "hp_").items()}
  dim, narrow = int(hp["dim"]), int(hp["pred_dim"])
  net = nets.Network(
    tiny.Encoder(9),
    projector=MLP(
      3, hidden=9, out=dim, hidden_bias=False, out_bias=False, last_norm="plain"
    ),
    predictor=MLP(2, hidden=narrow, out=dim, hidden_bias=False),
  )
  method = SimSiam(net)
  config = {
    "name": "sgd",
    "learning_rate": {"kind": "cosine", "base": hp["init_lr"], "per": "epoch"},
    "groups": {"^predictor/": {"learning_rate": hp["init_lr"]}},
    "momentum": hp["momentum"],
    "weight_decay": hp["weight_decay"],
  }
  tx = optim.build(config, PLAN)
  first = variables_of(o, "in_sd.")
  params, stats = first["params"], first["batch_stats"]
  state = core.TrainState(jnp.int32(0), params, stats, {}, tx.init(params))

  @jax.jit
  def step(state, batch):
    return core.train_step(method, tx, lambda rng, b: b, 0, state, batch)

  for i, views in enumerate(np.stack([o["in_x1"], o["in_x2"]], 2)):
    state, metrics = step(state, {"image": views})
    assert_allclose(metrics["loss"], o["out_loss"][i], rtol=1e-5)
    grads = torch_names.under(o, "out_grad.").values()
    norm = np.sqrt(sum(np.square(g[i]).sum() for g in grads))
    assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    expected = variables_of(o, "out_sd.", i)
    assert_trees_close(state.params, expected["params"])
    assert_trees_close(state.batch_stats, expected["batch_stats"])


def assert_trees_close(actual, expected):
  jax.tree.map(lambda x, y: assert_allclose(x, y, atol=3e-6), actual, expected)


def test_the_projection_carries_no_gradient():
  net = nets.Network(
    tiny.Encoder(), projector=MLP(1, out=3), predictor=MLP(1, out=3, out_bias=False)
  )
  method = SimSiam(net)
  image = jax.random.normal(jax.random.key(0), (4, 2, 3))
  params, stats, _ = method.init(jax.random.key(1), {"image": image})

  def loss_fn(scale):
    """The predictor's output, turned to nothing, hides all but the targets' path."""
    kernel = params["predictor"]["fc1"]["kernel"]
    fixed = {"fc1": {"kernel": jax.lax.stop_gradient(kernel)}}
    moved = jax.tree.map(lambda w: w * scale, params["projector"])
    state = core.TrainState(jnp.int32(0), None, stats, {}, None)
    return method.loss_fn(
      {"projector": moved, "predictor": fixed}, state, {"image": image}, None
    )[0]

  assert_allclose(jax.grad(loss_fn)(1.0), 0.0, atol=1e-6)
