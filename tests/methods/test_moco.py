import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import torch_names
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core, nets, optim, sharding
from ssljax.methods.moco import MoCo
from ssljax.nets.heads import MLP

HEADS = {
  "body": "encoder/body",
  "fc": "projector/fc1",
  "fc.0": "projector/fc1",
  "fc.2": "projector/fc2",
}
B, GROUP, DIM = 16, 4, 3


def params_of(o, prefix, step=None):
  state_dict = torch_names.under(o, prefix)
  if step is not None:
    state_dict = {k: v[step] for k, v in state_dict.items()}
  return torch_names.variables(state_dict, HEADS.get)["params"]


# Without BatchNorm neither way of the shuffle may change a number.
@pytest.mark.parametrize(
  ("file", "shuffle"), [("03_moco_v1_0", "permute"), ("03_moco_v2_1", "strided")]
)
def test_every_step_has_the_official_loss_gradient_queue_and_encoders(file, shuffle):
  o = oracle(file)
  hp = {k: float(v) for k, v in torch_names.under(o, "hp_").items()}
  head = MLP(2 if hp["mlp"] else 1, out=int(hp["dim"]), hidden=12, norm=False)
  net = nets.Network(tiny.Encoder(12), projector=head)
  method = MoCo(net, hp["T"], hp["m"], int(hp["K"]), shuffle)
  sgd = {"momentum": hp["sgd_momentum"], "weight_decay": hp["sgd_weight_decay"]}
  tx = optim.build({"name": "sgd", "learning_rate": hp["sgd_lr"], **sgd}, tiny.PLAN)
  params = params_of(o, "in_encoder_q.")
  target = {
    "params": params_of(o, "out_encoder_k.", 0),  # theirs moves before its pass
    "batch_stats": {},
    "queue": jnp.asarray(o["in_queue"].T),
    "pointer": jnp.int32(0),
  }
  state = core.TrainState(jnp.int32(0), params, {}, target, tx.init(params))

  @jax.jit
  def step(state, batch):
    return core.train_step(method, tx, lambda rng, b: b, 0, state, batch)

  for i, views in enumerate(np.stack([o["in_im_q"], o["in_im_k"]], 2)):
    state, metrics = step(state, {"image": views})
    assert_allclose(metrics["loss"], o["out_loss"][i], rtol=1e-5)
    norm = np.sqrt(sum(np.square(g[i]).sum() for g in gradients(o)))
    assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    assert_allclose(state.target["queue"], o["out_queue"][i].T, atol=2e-6)
    assert state.target["pointer"] == o["out_queue_ptr"][i]
    assert_trees_close(state.params, params_of(o, "out_encoder_q.", i))
    if i + 1 < len(o["out_loss"]):
      expected = params_of(o, "out_encoder_k.", i + 1)
      assert_trees_close(state.target["params"], expected)


def gradients(o):
  return torch_names.under(o, "out_grad_q.").values()


def assert_trees_close(actual, expected):
  jax.tree.map(lambda x, y: assert_allclose(x, y, atol=3e-6), actual, expected)


def normalising(shuffle):
  """A method whose encoder normalises in groups of four, its target and inputs."""
  encoder = tiny.Encoder(6, bn_group_size=GROUP)
  method = MoCo(nets.Network(encoder, projector=MLP(1, out=8)), 0.2, 0.99, 32, shuffle)
  image = jax.random.normal(jax.random.key(1), (B, DIM))
  params, stats, target = jax.jit(method.init)(
    jax.random.key(2), {"image": image[:, None]}
  )
  return method, params, stats, target, {"image": image}


def test_strided_groups_are_neighbours_of_moved_images_moved_back():
  method, _, _, target, x = normalising("strided")
  keys, stats = jax.jit(method.key_pass)(target, x, None)
  order = np.arange(B).reshape(GROUP, B // GROUP).T.ravel()
  moved, moved_stats = jax.jit(method.forward)(
    target["params"], target["batch_stats"], {"image": x["image"][order]}
  )
  expected = moved["projection"][np.argsort(order)]
  expected /= jnp.linalg.norm(expected, axis=1, keepdims=True)
  assert_allclose(keys, expected, atol=1e-6)
  jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-5), stats, moved_stats)


def influence(outputs):
  """outputs({"image": [B,DIM]}) -> [B,D]; does image j change output i? [i,j]"""
  image = np.random.default_rng(0).normal(size=(B, DIM)).astype(np.float32)
  changed = jnp.stack([image + 2.0 * (np.arange(B) == j)[:, None] for j in range(B)])
  every = {"image": jnp.concatenate([image[None], changed])}
  outputs = jax.jit(jax.vmap(outputs))(every)
  return np.abs(outputs[1:] - outputs[:1]).max(2).T > 1e-4


def test_a_key_shares_no_strided_group_with_the_neighbours_of_its_query():
  method, params, stats, target, _ = normalising("strided")
  query = influence(lambda x: method.forward(params, stats, x)[0]["projection"])
  key = influence(lambda x: method.key_pass(target, x, None)[0])
  assert (query.sum(1) == GROUP).all()
  assert (key.sum(1) == GROUP).all()
  np.testing.assert_array_equal(query & key, np.eye(B, dtype=bool))


def test_the_permutation_breaks_up_the_groups_anew_with_every_rng():
  method, params, stats, target, _ = normalising("permute")
  query = influence(lambda x: method.forward(params, stats, x)[0]["projection"])
  keys = [
    influence(lambda x, seed=s: method.key_pass(target, x, jax.random.key(seed))[0])
    for s in (0, 1)
  ]
  assert all((key.sum(1) == GROUP).all() for key in keys)
  assert (query & keys[0]).sum() < GROUP * B / 2
  assert (keys[0] & keys[1]).sum() < GROUP * B / 2


@pytest.mark.parametrize("shuffle", ["strided", "permute"])
def test_keys_of_eight_devices_are_those_of_one(shuffle):
  method, _, _, target, x = normalising(shuffle)
  rng = jax.random.key(3)
  expected, _ = jax.jit(method.key_pass)(target, x, rng)
  mesh = sharding.make_mesh()
  rows, whole = sharding.by_rows(mesh), sharding.replicated(mesh)
  key_pass = jax.jit(method.key_pass, in_shardings=(whole, rows, whole))
  keys, _ = key_pass(target, x, rng)
  assert_allclose(keys, expected, atol=1e-6)
  moved = tiny.collectives(key_pass.lower(target, x, rng).compile())
  assert any(size >= x["image"].size for _, size in moved) == (shuffle == "permute")


def test_an_unknown_shuffle_is_named():
  method, *_ = normalising("strided")
  with pytest.raises(
    ValueError, match="bn_shuffle='shuffle' must be one of strided, permute"
  ):
    dataclasses.replace(method, bn_shuffle="shuffle")
