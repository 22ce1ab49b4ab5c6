"""ConvNeXt: its counts, its drop path, and the convolution that a CPU sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax import nets
from ssljax.fields import ConfigError
from ssljax.nets import depthwise
from ssljax.nets.convnext import ConvNeXt, ResponseNorm

IMAGE = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
NET = ConvNeXt((1, 2), width=6, patch_size=2, layer_scale=1.0, grn=True)


def start(net, x):
  return jax.jit(lambda x: net.init(jax.random.key(1), x, False))(x)


@pytest.mark.parametrize(
  ("name", "millions"),
  [
    *(("atto", 3.7), ("femto", 5.22), ("pico", 9.05), ("nano", 15.59)),
    *(("tiny", 28.59), ("small", 50.22), ("base", 88.59)),
  ],
)
def test_it_has_the_published_parameters(name, millions):
  """Of the paper's table 9 and of timm's models, with a thousand classes."""
  net = nets.build({"name": f"convnext_{name}"})
  image = {"image": jnp.zeros((1, 64, 64, 3))}
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), image, train=False))
  count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
  assert round((count + 1000 * (8 * net.width + 1)) / 1e6, 2) == millions
  known = {name for names in net.layers for name in names} | {"norm"}
  assert known == set(shapes["params"])


@pytest.mark.parametrize("k", [3, 7])
@pytest.mark.parametrize("size", [(5, 9), (2, 3)])
def test_shifted_sums_are_the_convolution_and_its_gradients(k, size):
  rng = np.random.default_rng(0)
  x, weight = (rng.normal(size=(3, *size, 4)).astype(np.float32) for _ in "ab")
  kernel = rng.normal(size=(k, k, 1, 4)).astype(np.float32)

  def outcome(f):
    y, vjp = jax.vjp(f, x, kernel)
    return y, *vjp(jnp.asarray(weight))

  ours, theirs = map(outcome, (depthwise._shifted, depthwise._grouped))
  for a, b in zip(ours, theirs, strict=True):
    assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_response_norm_is_algorithm_1_in_numpy():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  scale, bias = rng.normal(size=(2, 5)).astype(np.float32)
  length = np.sqrt((x**2).sum((1, 2), keepdims=True))
  expected = x + scale * (x * (length / length.mean(-1, keepdims=True))) + bias
  ours = ResponseNorm().apply({"params": {"scale": scale, "bias": bias}}, x)
  assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_drop_path_leaves_examples_out_by_their_keys():
  """All but the last block alone may differ: its share is the first above 0."""
  net, x = NET.clone(drop_path=0.5), {"image": IMAGE}
  variables = start(net, x)
  keys = jax.random.split(jax.random.key(3), len(IMAGE))
  apply = jax.jit(lambda x, train: net.apply(variables, x, train), static_argnums=1)
  plain = apply(x, False)["features"]
  assert_allclose(apply(x, True)["features"], plain, rtol=1e-6)  # without keys
  dropped = apply({**x, "keys": keys}, True)["features"]
  assert np.abs(dropped - plain).max() > 1e-3
  one = apply({"image": IMAGE[1:2], "keys": keys[1:2]}, True)["features"]
  assert_allclose(one, dropped[1:2], rtol=1e-4, atol=1e-5)


def test_inputs_that_hide_patches_are_refused():
  x = {"image": IMAGE, "keep": np.zeros((4, 2), np.int32)}
  with pytest.raises(ConfigError, match=r"encoder.name must be a vision transformer"):
    start(NET, x)


def test_the_last_block_s_map_is_what_is_pooled():
  variables = start(NET, {"image": IMAGE})
  y, inner = NET.apply(variables, {"image": IMAGE}, False, mutable=["intermediates"])
  maps = inner["intermediates"]["map"]
  assert [m.shape for m in maps] == [(4, 8, 8, 6), (4, 4, 4, 12), (4, 4, 4, 12)]
  np.testing.assert_array_equal(maps[-1], y["map"])
