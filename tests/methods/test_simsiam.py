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
  state_dict = torch_names.under(o, prefix)
  if step is not None:
    state_dict = {k: v[step] for k, v in state_dict.items()}
  return torch_names.variables(state_dict, NAMES.get)


def test_every_step_has_the_official_loss_gradient_network_and_statistics():
  o = oracle("05_simsiam_full_0")
  hp = {k: float(v) for k, v in torch_names.under(o, "hp_").items()}
  dim, narrow = int(hp["dim"]), int(hp["pred_dim"])
  net = nets.Network(
    tiny.Encoder(9),
    projector=MLP(3, hidden=9, out=dim, hidden_bias=False, last_norm="plain"),
    predictor=MLP(2, hidden=narrow, out=dim, hidden_bias=False),
  )
  method = SimSiam(net)
  config = {
    "name": "sgd",
    "learning_rate": {"kind": "cosine", "base": hp["init_lr"], "per": "epoch"},
    "frozen": ("^projector/fc3/bias",),  # BatchNorm takes it out: our configs have none
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
