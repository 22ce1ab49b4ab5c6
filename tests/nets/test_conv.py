"""The CPU's own convolution gradient against lax's."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets import conv


@pytest.mark.parametrize(
  ("size", "k", "stride", "padding"),
  [
    (16, 3, 1, 1),
    (19, 3, 2, 1),
    (20, 7, 2, 3),
    (20, 1, 2, 0),
    (12, 1, 1, 0),
    (4, 3, 1, 1),
    (8, 4, 4, 0),
  ],
)
def test_gradients_are_those_of_lax(size, k, stride, padding):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(6, size, size, 5)).astype(np.float32)
  kernel = rng.normal(size=(k, k, 5, 7)).astype(np.float32)

  @jax.jit
  def both(x, kernel):
    y, ours = jax.vjp(lambda x, k: conv._conv_cpu(x, k, stride, padding), x, kernel)
    _, theirs = jax.vjp(lambda x, k: conv._conv(x, k, stride, padding), x, kernel)
    return ours(y), theirs(y)

  for ours, theirs in zip(*both(x, kernel), strict=True):
    assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_the_batch_is_cut_into_pieces_without_a_rest(monkeypatch):
  monkeypatch.setattr(conv, "PIECE", 4 * 12 * 12 * 2)  # four of six images: three fit
  rng = np.random.default_rng(0)
  x = rng.normal(size=(6, 12, 12, 2)).astype(np.float32)
  kernel = np.ones((3, 3, 2, 4), np.float32)
  y, theirs = jax.vjp(lambda k: conv._conv(x, k, 1, 1), kernel)
  ours = conv._kernel_grad(x, y, 3, 1, 1)
  assert_allclose(ours, theirs(y)[0], rtol=1e-4, atol=1e-4 * np.abs(ours).max())


def test_kernels_that_tile_the_image_give_the_values_of_lax():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 9, 8, 5)).astype(np.float32)
  kernel = rng.normal(size=(4, 4, 5, 7)).astype(np.float32)
  assert_allclose(conv._tiles(x, kernel), conv._conv(x, kernel, 4, 0), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (5, 9), (1, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (1, 2), (3, 1)])
def test_same_padding_is_that_of_lax(size, kernel, stride):
  """XLA's own "SAME" is TensorFlow's."""
  x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
  net = conv.Conv(4, kernel, stride, same=True)
  variables = net.init(jax.random.key(0), x)
  expected = jax.lax.conv_general_dilated(
    *(x, variables["params"]["kernel"], (stride, stride), "SAME"),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  assert_allclose(net.apply(variables, x), expected, atol=1e-5)
