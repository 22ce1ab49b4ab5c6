"""BEiT's bias by relative positions: its numbers, its gradient, its place in a ViT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets import attention
from ssljax.nets.relative import RelativeBias
from ssljax.nets.vit import ViT

SIDE, HEADS = 3, 2
TABLE = np.random.default_rng(0).normal(size=(5 * 5 + 3, HEADS)).astype(np.float32)
IMAGE = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)
SMALL = {"width": 12, "depth": 2, "heads": HEADS, "patch_size": 4, "image_size": 12}


def bias(first=1, height=SIDE, width=SIDE, keep=None):
  module = RelativeBias(HEADS, SIDE, first, "bicubic")
  return module.apply({"params": {"table": TABLE}}, height, width, keep)


@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_pair_has_the_number_of_its_rows_and_columns_apart(first):
  """As in SimMIM's code: from the class token, to it, and its own come last."""
  ours = np.asarray(bias(first))[0]
  for q in range(first + 9):
    for k in range(first + 9):
      if min(q, k) >= first:
        (i, j), (m, n) = divmod(q - first, 3), divmod(k - first, 3)
        row = (i - m + 2) * 5 + j - n + 2
      else:
        row = {(True, False): 25, (False, True): 26}.get((q < first, k < first), 27)
      np.testing.assert_array_equal(ours[:, q, k], TABLE[row])


def test_patches_left_have_the_numbers_of_their_places():
  keep = np.array([[0, 4, 8], [1, 2, 7]], np.int32)
  ours, whole = np.asarray(bias(keep=keep)), np.asarray(bias())[0]
  for example, index in zip(ours, keep, strict=True):
    index = np.concatenate([[0], 1 + index])
    np.testing.assert_array_equal(example, whole[:, index][:, :, index])


def test_another_grid_resizes_the_map_between_patches_alone():
  wide = np.asarray(bias(height=2, width=4))[0]
  assert wide.shape == (HEADS, 9, 9)
  assert_allclose(wide[:, 0, 1], TABLE[25])
  assert_allclose(wide[:, 1, 2], wide[:, 7, 8])  # the same columns apart
  assert np.abs(wide[:, 1, 2] - wide[:, 2, 1]).max() > 1e-3


@pytest.mark.parametrize("shared", [True, False])
def test_attention_with_a_bias_has_the_value_and_the_gradients_of_autodiff(shared):
  keys = jax.random.split(jax.random.key(0), 5)
  q, k, v, weight = (jax.random.normal(key, (2, 5, 3, 4)) for key in keys[:4])
  extra = jax.random.normal(keys[4], (1 if shared else 2, 3, 5, 5))

  def plain(q, k, v, extra):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2 + extra
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)

  def ours(q, k, v, extra):
    return attention.attend(q, k, v, bias=extra)

  loss = lambda f: lambda *x: (f(*x) * weight).sum()  # noqa: E731
  args = q, k, v, extra
  assert_allclose(ours(*args), plain(*args), atol=1e-5)
  for a, b in zip(
    *(jax.grad(loss(f), (0, 1, 2, 3))(*args) for f in (ours, plain)), strict=True
  ):
    assert_allclose(a, b, atol=1e-5)


def test_a_vision_transformer_shares_one_table_that_starts_at_nothing():
  net = ViT(**SMALL, position="relative", pool="mean")
  params = jax.jit(lambda: net.init(jax.random.key(0), {"image": IMAGE}, False))()
  params = params["params"]
  assert params["relative"]["table"].shape == TABLE.shape
  assert not np.asarray(params["relative"]["table"]).any()
  assert "position" not in params
  apply = jax.jit(lambda p: net.apply({"params": p}, {"image": IMAGE}, False))
  blind = apply(params)["features"]
  order = np.roll(np.arange(12), 4)  # a row of patches round
  moved = jax.jit(lambda p: net.apply({"params": p}, {"image": IMAGE[:, order]}, False))
  assert_allclose(moved(params)["features"], blind, atol=1e-5)  # no place is told
  told = {**params, "relative": {"table": jnp.asarray(TABLE)}}
  assert np.abs(apply(told)["features"] - moved(told)["features"]).max() > 1e-3


def test_maps_of_attention_have_the_bias_too():
  net = ViT(**SMALL, position="relative")
  params = jax.jit(lambda: net.init(jax.random.key(0), {"image": IMAGE}, False))()
  params = {"params": {**params["params"], "relative": {"table": 30 * TABLE}}}
  _, inner = net.apply(params, {"image": IMAGE}, False, mutable=["intermediates"])
  maps = np.asarray(inner["intermediates"]["attention"][0])
  assert (maps.argmax(-1) == np.asarray(bias())[0].argmax(-1)).mean() > 0.9
