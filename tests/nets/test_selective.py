"""Selective kernels and ResNet-D: SimCLR v2's networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets import resnet
from ssljax.nets.conv import Conv
from ssljax.nets.norm import BatchNorm
from ssljax.nets.selective import SelectiveConv

TABLE_1 = {  # encoder, width, with selective kernels -> millions, in the paper
  ("ResNet50", 64, False): 24,
  ("ResNet50", 64, True): 35,
  ("ResNet50", 128, False): 94,
  ("ResNet50", 128, True): 140,
  ("ResNet101", 64, False): 43,
  ("ResNet101", 64, True): 65,
  ("ResNet152", 64, False): 58,
  ("ResNet152", 64, True): 89,
  ("ResNet152", 128, True): 354,
  ("ResNet152", 192, True): 795,
}


@pytest.mark.parametrize(("encoder", "width", "selective"), TABLE_1)
def test_sizes_are_those_of_table_1(encoder, width, selective):
  """Which counts the running statistics of BatchNorm, but no classifier."""
  net = getattr(resnet, encoder)(width=width, sk_ratio=0.0625 * selective)
  image = {"image": jnp.zeros((1, 224, 224, 3))}
  variables = jax.eval_shape(lambda key: net.init(key, image, False), jax.random.key(0))
  size = sum(x.size for x in jax.tree.leaves(variables))
  assert round(size / 1e6) == TABLE_1[encoder, width, selective]


def normalise(x, scale, bias):
  axes = tuple(range(x.ndim - 1))
  return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) * scale + bias


def selective_conv(p, x, stride, width):
  """One output pixel, one picture and one channel after the other."""
  p = jax.tree.map(np.float64, p)
  padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  sides = [-(-n // stride) for n in x.shape[1:3]]
  maps = np.zeros((len(x), *sides, 2 * width))
  for i, j in np.ndindex(*sides):
    window = padded[:, stride * i : stride * i + 3, stride * j : stride * j + 3]
    maps[:, i, j] = np.tensordot(window, p["conv"]["kernel"], 3)
  maps = np.maximum(normalise(maps, **p["bn"]), 0)
  first, second = maps[..., :width], maps[..., width:]
  pooled = (first + second).mean((1, 2))
  hidden = np.maximum(normalise(pooled @ p["fc1"]["kernel"][0, 0], **p["bn1"]), 0)
  score = hidden @ p["fc2"]["kernel"][0, 0]
  out = np.zeros_like(first)
  for b, c in np.ndindex(len(x), width):
    weight = 1 / (1 + np.exp(score[b, width + c] - score[b, c]))  # of the first branch
    out[b, ..., c] = weight * first[b, ..., c] + (1 - weight) * second[b, ..., c]
  return out


@pytest.mark.parametrize(("width", "hidden"), [(6, 32), (80, 40)])
def test_a_selective_convolution_is_its_description(width, hidden):
  rng = np.random.default_rng(0)
  sk = SelectiveConv(width, 2, 0.5, Conv, BatchNorm)
  x = rng.normal(size=(4, 5, 5, 3)).astype(np.float32)
  variables = sk.init(jax.random.key(0), x, False)
  params = jax.tree.map(
    lambda v: v + 0.3 * rng.normal(size=v.shape).astype(np.float32), variables["params"]
  )
  assert params["fc1"]["kernel"].shape == (1, 1, width, hidden)
  y, _ = sk.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
  expected = selective_conv(params, x, 2, width)
  assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [4, 5])
def test_a_shortcut_is_a_1x1_convolution_of_the_mean_of_2x2_pixels(stride, side):
  block = resnet.BasicBlock(
    4, stride, Conv, BatchNorm, zero_init_gamma=True, sk_ratio=0.0625
  )
  x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
  variables = block.init(jax.random.key(0), x, False)
  y = block.apply(variables, x, False)
  kernel = np.asarray(variables["params"]["downsample_conv"]["kernel"])[0, 0]
  for i, j in np.ndindex(y.shape[1:3]):
    window = x[:, stride * i : stride * i + 2, stride * j : stride * j + 2]
    expected = window.mean((1, 2)) @ kernel  # the rest of the block starts at 0
    assert_allclose(y[:, i, j], np.maximum(expected, 0), atol=3e-5)


def test_the_deep_stem_halves_the_picture_twice_by_three_small_convolutions():
  net = resnet.ResNet50(stage_sizes=(1,), width=8, sk_ratio=0.0625)
  image = {"image": jnp.zeros((1, 32, 32, 3))}

  def init(key):
    return net.init_with_output(key, image, False, capture_intermediates=True)[1]

  variables = jax.eval_shape(init, jax.random.key(0))
  params, outputs = variables["params"], variables["intermediates"]
  stem = ["stem_conv1", "stem_conv2", "conv1"]
  kernels = [params[name]["kernel"].shape for name in stem]
  assert kernels == [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 8)]
  sides = [outputs[name]["__call__"][0].shape[1] for name in (*stem, "layer1_0")]
  assert sides == [16, 16, 16, 8]
