import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import torch_names
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core, nets, optim, schedules
from ssljax.methods.moco_v3 import MoCoV3
from ssljax.nets.heads import MLP

HEAD = {"hidden_bias": False, "out_bias": False}
PREDICTOR = {  # theirs -> ours
  "predictor.0": "predictor/fc1",
  "predictor.1": "predictor/bn1",
  "predictor.3": "predictor/fc2",
  "predictor.4": "predictor/bn2",
}


def variables_of(o, prefix, encoder):
  """`encoder`: base_encoder, with the predictor, or momentum_encoder."""
  layers = ["fc1", "bn1", None, "fc2", "bn2", None, "fc3", "bn3"]
  names = {
    f"{encoder}.{head}.{i}": f"projector/{name}"
    for head in ("fc", "head")
    for i, name in enumerate(layers)
  }
  names[f"{encoder}.body"] = "encoder/body"
  if encoder == "base_encoder":
    names |= PREDICTOR
  return torch_names.variables(torch_names.under(o, prefix), names.get)


def assert_trees_close(actual, expected):
  def close(x, y):
    assert_allclose(x, y, rtol=0, atol=1e-5 * max(1, np.abs(y).max()))

  jax.tree.map(close, actual, expected)


@pytest.mark.parametrize(
  ("file", "layers", "last_norm"),
  [("04_mocov3_full_resnet", 2, "none"), ("04_mocov3_full_vit", 3, "plain")],
)
def test_loss_gradient_key_encoder_and_statistics_are_official(file, layers, last_norm):
  o = oracle(file)
  hidden, dim = int(o["hp_mlp_dim"]), int(o["hp_dim"])
  net = nets.Network(
    tiny.Encoder(9),
    projector=MLP(layers, hidden=hidden, out=dim, last_norm="plain", **HEAD),
    predictor=MLP(2, hidden=hidden, out=dim, last_norm=last_norm, **HEAD),
  )
  method = MoCoV3(net, float(o["hp_T"]), lambda step: float(o["hp_m"]))
  query = variables_of(o, "in_sd.", "base_encoder")
  key = variables_of(o, "in_sd.", "momentum_encoder")
  predictor = {k: v["predictor"] for k, v in query.items()}
  key = {k: {**v, "predictor": predictor[k]} for k, v in key.items()}
  state = core.TrainState(jnp.int32(0), None, query["batch_stats"], key, None)
  # Theirs moves the key encoder before its pass, ours at the end of the step before.
  carry = {"target_stats": key["batch_stats"]}
  _, target = method.after_update(query["params"], state, carry)
  state = state.replace(target=target)
  views = {"image": np.stack([o["in_x1"], o["in_x2"]], 1)}
  grad_fn = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
  (loss, aux), grads = grad_fn(query["params"], state, views, None)

  assert_allclose(loss, o["out_loss"], rtol=1e-5)
  assert_trees_close(grads, variables_of(o, "out_grad.", "base_encoder")["params"])
  expected = variables_of(o, "out_sd.", "base_encoder")["batch_stats"]
  assert_trees_close(aux.batch_stats, expected)
  expected = variables_of(o, "out_sd.", "momentum_encoder")
  assert_trees_close(without_predictor(target["params"]), expected["params"])
  assert_trees_close(
    without_predictor(aux.carry["target_stats"]), expected["batch_stats"]
  )


def without_predictor(tree):
  return {k: v for k, v in tree.items() if k != "predictor"}


def test_the_key_encoder_of_step_i_has_seen_the_official_momenta_1_to_i():
  o = oracle("15_lr_mocov3_0")
  epochs, iterations = int(o["hp_epochs"]), int(o["hp_iters_per_epoch"])
  plan = schedules.Plan(256, 256 * iterations, iterations, epochs * iterations)
  momentum = {"kind": "cosine", "base": float(o["hp_moco_m"]), "end": 1.0}
  method = MoCoV3(None, 1.0, schedules.build(momentum, plan))
  key, expected, rng = np.zeros(1, np.float32), np.zeros(1), np.random.default_rng(0)
  for i in range(12):  # theirs: the average with momentum i, then the pass, of step i
    query = rng.normal(size=1).astype(np.float32)
    target = {"params": key, "batch_stats": {}}
    state = core.TrainState(np.int32(i), None, {}, target, None)
    key = method.after_update(query, state, {"target_stats": {}})[1]["params"]
    m = o["out_m"][i + 1]
    expected = m * expected + (1 - m) * query
    assert_allclose(key, expected, rtol=1e-4)


def test_a_frozen_patch_projection_is_not_even_decayed():
  config = tiny.configs()["moco_v3_imagenet_vit"]
  encoder = {**config.encoder, "width": 8, "depth": 1}
  net = nets.Network(
    nets.build(encoder), projector=MLP(1, out=4), predictor=MLP(1, out=4)
  )
  method = MoCoV3(net, 0.2, lambda step: 0.9)
  tx = optim.build({**config.optimizer, "learning_rate": 0.1}, tiny.PLAN)
  views = np.random.default_rng(0).normal(size=(4, 2, 8, 8, 3)).astype(np.float32)

  @jax.jit
  def before_and_after(batch):
    first = core.init_state(method, tx, lambda rng, b: b, 0, batch)
    state, _ = core.train_step(method, tx, lambda rng, b: b, 0, first, batch)
    return first.params["encoder"], state.params["encoder"]

  params = before_and_after({"image": views})
  moved = jax.tree.map(lambda x, y: not np.array_equal(x, y), *params)
  assert moved.pop("patch") == {"kernel": False, "bias": False}
  assert all(jax.tree.leaves(moved))
