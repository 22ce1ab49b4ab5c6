import jax
import jax.numpy as jnp
import numpy as np
import tiny
import torch_names
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core, nets, optim, schedules
from ssljax.methods.byol import BYOL
from ssljax.methods.probe import OnlineProbe
from ssljax.nets.heads import MLP

PLAN = schedules.Plan(
  batch_size=256, num_examples=256, steps_per_epoch=1, total_steps=50
)


def params_of(o, prefix, step=None):
  """Haiku's names -> ours; "probe" is what the official code calls classifier."""
  w = {
    k: v if step is None else v[step] for k, v in torch_names.under(o, prefix).items()
  }
  w = {k: np.float32(v.squeeze(0) if "batch_norm" in k else v) for k, v in w.items()}

  def head(name):
    return {
      "fc1": {"kernel": w[f"{name}|linear.w"], "bias": w[f"{name}|linear.b"]},
      "bn1": {
        "scale": w[f"{name}|batch_norm.scale"],
        "bias": w[f"{name}|batch_norm.offset"],
      },
      "fc2": {"kernel": w[f"{name}|linear_1.w"]},
    }

  return {
    "encoder": {"body": {"kernel": w["tinyenc|body.w"], "bias": w["tinyenc|body.b"]}},
    "projector": head("projector"),
    "predictor": head("predictor"),
    "probe": {"kernel": w["classifier.w"], "bias": w["classifier.b"]},
  }


def without_probe(params):
  return {k: v for k, v in params.items() if k != "probe"}


def test_every_step_has_the_official_losses_online_network_target_and_probe():
  o = oracle("05_byol_full_0")
  net = nets.Network(
    tiny.Encoder(6),
    projector=MLP(2, out=5, hidden=7, out_bias=False),
    predictor=MLP(2, out=5, hidden=6, out_bias=False),
  )
  tau = {"kind": "cosine", "base": float(o["hp_base_target_ema"]), "end": 1.0}
  method = BYOL(net, schedules.build(tau, PLAN))
  rate = {"kind": "cosine", "base": float(o["hp_base_learning_rate"])}
  config = {
    "name": "lars",
    "learning_rate": {**rate, "warmup_epochs": int(o["hp_warmup_steps"])},
    "weight_decay": float(o["hp_weight_decay"]),
    "exclude": ("norm_and_bias",),
  }
  tx, rates = optim.build(config, PLAN), optim.rates(config, PLAN)
  params = params_of(o, "in_online.")
  _, stats = method.init_net(jax.random.key(0), {"image": jnp.zeros((1, 4))})
  slow = without_probe(params_of(o, "in_target."))
  state = core.TrainState(
    jnp.int32(o["hp_first_global_step"]),
    params,
    stats,
    {"params": slow, "batch_stats": stats},
    tx.init(params),
  )

  @jax.jit
  def step(state, batch):
    new, metrics = core.train_step(
      method, tx, lambda rng, b: b, 0, state, batch, probe=OnlineProbe(6)
    )
    return new, {**metrics, **rates(state.step)}

  for i in range(len(o["out_loss"])):
    views = np.stack([o["in_view1"][i, 0], o["in_view2"][i, 0]], 1)
    state, metrics = step(state, {"image": views, "label": o["in_labels"][i, 0]})
    for ours, theirs in (
      ("loss", "repr_loss"),
      ("probe_loss", "classif_loss"),
      ("learning_rate", "learning_rate"),
      ("tau", "tau"),
    ):
      assert_allclose(metrics[ours], o[f"out_{theirs}"][i], rtol=1e-5, err_msg=ours)
    assert_trees_close(state.params, params_of(o, "out_online.", i))
    expected = without_probe(params_of(o, "out_target.", i))
    assert_trees_close(state.target["params"], expected)


def assert_trees_close(actual, expected):
  jax.tree.map(lambda x, y: assert_allclose(x, y, atol=1e-5), actual, expected)


def test_online_network_and_target_start_apart():
  net = nets.Network(tiny.Encoder(6), projector=MLP(1, out=5), predictor=MLP(1, out=5))
  batch = {"image": jnp.zeros((2, 2, 4))}
  params, _, target = BYOL(net, lambda step: 0.99).init(jax.random.key(0), batch)
  kernels = (
    params["encoder"]["body"]["kernel"],
    target["params"]["encoder"]["body"]["kernel"],
  )
  assert np.abs(np.subtract(*kernels)).min() > 0
