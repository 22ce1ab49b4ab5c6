"""How weights start, by the laws that the libraries document."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax import nets
from ssljax.fields import ConfigError
from ssljax.nets import inits
from ssljax.nets.heads import MLP

FAN_IN, FAN_OUT = 9 * 32, 9 * 64  # of a kernel [3,3,32,64]
CUT = 0.8796  # deviation of a unit normal between -2 and 2
LAWS = {  # name -> deviation, largest value
  "he_fan_out": (np.sqrt(2 / FAN_OUT), np.inf),
  "lecun": (np.sqrt(1 / FAN_IN), 2 * np.sqrt(1 / FAN_IN) / CUT),
  "haiku": (CUT * np.sqrt(1 / FAN_IN), 2 * np.sqrt(1 / FAN_IN)),
  "torch": (np.sqrt(1 / (3 * FAN_IN)), np.sqrt(1 / FAN_IN)),
  "zeros": (0.0, 0.0),
}


@pytest.mark.parametrize("name", inits.KERNELS)
def test_a_kernel_has_the_deviation_and_bound_of_its_law(name):
  kernel = np.asarray(inits.KERNELS[name](jax.random.key(0), (3, 3, 32, 64)))
  std, bound = LAWS[name]
  assert_allclose(kernel.std(), std, rtol=0.02)
  assert abs(kernel.mean()) <= 0.02 * std
  assert np.abs(kernel).max() <= bound * (1 + 1e-4)
  if 0 < bound < np.inf:
    assert np.abs(kernel).max() > 0.98 * bound


def test_a_head_starts_uniform_as_pytorchs_linear_biases_too():
  x = np.zeros((1, 400), np.float32)
  params = MLP(1, out=3000).init(jax.random.key(0), x, False)["params"]["fc1"]
  for leaf in params.values():
    assert_allclose(np.abs(leaf).max(), 1 / 20, rtol=0.01)
    assert_allclose(leaf.std(), 1 / 20 / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("fields", [{"init_std": 0.01}, {"start": "haiku"}])
def test_biases_start_at_zero_beside_any_other_kernel(fields):
  x = np.zeros((1, 100), np.float32)
  params = MLP(1, out=50, **fields).init(jax.random.key(0), x, False)["params"]["fc1"]
  assert not params["bias"].any()
  std = 0.01 if "init_std" in fields else CUT / 10
  assert_allclose(params["kernel"].std(), std, rtol=0.05)


def test_the_stem_of_a_resnet_may_start_otherwise_and_be_wider():
  config = {"name": "resnet18", "width": 32, "stem": "cifar", "stage_sizes": (1,)}
  net = nets.build(config | {"stem_start": "torch", "stem_width": 64})
  image = {"image": np.zeros((1, 8, 8, 3), np.float32)}
  params = jax.jit(net.init, static_argnums=2)(jax.random.key(0), image, False)
  stem = params["params"]["conv1"]["kernel"]
  block = params["params"]["layer1_0"]["conv2"]["kernel"]
  assert stem.shape == (3, 3, 3, 64)
  assert params["params"]["layer1_0"]["conv1"]["kernel"].shape == (3, 3, 64, 32)
  assert_allclose(np.abs(stem).max(), 1 / np.sqrt(27), rtol=0.01)
  assert_allclose(block.std(), np.sqrt(2 / (9 * 32)), rtol=0.05)


def test_an_unknown_start_is_named():
  with pytest.raises(ConfigError, match="start='kaiming' must be one of he_fan_out, "):
    nets.build({"name": "resnet18", "start": "kaiming"})
