"""data2vec on pictures: the target and the loss of its code, in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from ssljax import core, nets
from ssljax.methods.data2vec import Data2Vec
from ssljax.nets.heads import MLP
from ssljax.nets.vit import ViT

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(3, 8, 8, 3)).astype(np.float32)
MASK = np.array([[True, False, True, False], [False, True, True, True], [True] * 4])
ENCODER = ViT(width=8, depth=3, heads=2, patch_size=4, mask_token=True, pool="mean")
METHOD = Data2Vec(
  nets.Network(ENCODER, patch_projector=MLP(1, out=8)),
  blocks=2,
  beta=2.0,
  tau=lambda step: jnp.float32(0.9),
)
BATCH = {"image": jnp.asarray(IMAGE)[:, None], "mask": jnp.asarray(MASK)[:, None]}


def state():
  params, stats, target = METHOD.init(jax.random.key(0), BATCH)
  moved = jax.tree.map(lambda x: x + 0.1 * RNG.normal(size=x.shape), target["params"])
  target = {**target, "params": jax.tree.map(jnp.float32, moved)}
  return core.TrainState(jnp.int32(0), params, stats, target, None)


def normalised(x):
  x = np.float64(x)
  return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def test_loss_is_smooth_l1_of_hidden_tokens_and_the_mean_of_the_last_blocks():
  start = state()
  loss, _ = METHOD.loss_fn(start.params, start.replace(params=None), BATCH, None)
  teacher = start.target["params"]["encoder"]
  raw = ENCODER.clone(pool="mean_norm")  # whose tokens no final norm has seen
  layers = [
    raw.clone(depth=depth).apply({"params": teacher}, {"image": IMAGE}, False)
    for depth in (2, 3)
  ]
  target = normalised(np.mean([normalised(x["patches"]) for x in layers], 0))
  inputs = {"image": IMAGE, "mask": MASK}
  student = METHOD.net.apply({"params": start.params}, inputs, False)
  d = np.abs(np.float64(student["patch_projection"]) - target)
  error = np.where(d < 2, d**2 / 4, d - 1).mean(-1)
  expected = np.mean([e[m].mean() for e, m in zip(error, MASK, strict=True)])
  assert_allclose(loss, expected, rtol=1e-5)


def test_the_teacher_is_judged_and_averaged():
  start = state()
  assert METHOD.weights(start) is start.target
  carry = {"target_stats": {}}
  _, target = METHOD.after_update(start.params, start, carry)
  expected = jax.tree.map(
    lambda old, new: 0.9 * old + 0.1 * new, start.target["params"], start.params
  )
  jax.tree.map(
    lambda x, y: assert_allclose(x, y, atol=1e-6), target["params"], expected
  )


def test_a_head_of_another_width_is_refused():
  net = METHOD.net.clone(patch_projector=MLP(1, out=6))
  other = dataclasses.replace(METHOD, net=net)
  params, stats, target = other.init(jax.random.key(0), BATCH)
  start = core.TrainState(jnp.int32(0), None, stats, target, None)
  with pytest.raises(ValueError, match=r"patch_projector.out=6 must be the encoder's"):
    other.encode(params, start, BATCH, None)


def test_all_of_the_encoder_learns_from_the_smoke_form():
  """But for the token of the class, whose place nothing asks after."""
  built = tiny.parts("data2vec")
  state, _ = tiny.step(built, tiny.first_state(built), 1)
  first = tiny.first_state(built)
  same = jax.tree.map(np.array_equal, first.params, state.params)
  assert not any(jax.tree.leaves(same["patch_projector"]))
  assert not same["encoder"]["mask"]
