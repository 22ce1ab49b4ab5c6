"""How weights start, by the library whose habit it is."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import check_choice

scaling = nn.initializers.variance_scaling
CUT = 0.87962566103423978  # deviation of a unit normal that is cut at 2

KERNELS = {
  "he_fan_out": scaling(2.0, "fan_out", "normal"),  # torchvision's ResNets
  "he_fan_in": scaling(2.0, "fan_in", "truncated_normal"),
  "lecun": scaling(1.0, "fan_in", "truncated_normal"),  # TensorFlow's: SimCLR
  "haiku": scaling(CUT**2, "fan_in", "truncated_normal"),  # does not make up for it
  "torch": scaling(1 / 3, "fan_in", "uniform"),  # U(±1/sqrt(fan_in)), PyTorch's
  "zeros": nn.initializers.zeros,
}


def kernel(field: str, name: str) -> nn.initializers.Initializer:
  """One of KERNELS, on [...,in,out]; `field` is where a config names it."""
  check_choice(field, name, KERNELS)
  return KERNELS[name]


def bias(name: str, fan_in: int) -> Callable:
  """That of a layer whose kernel is `name`: with PyTorch's as uniform, else 0."""
  if name != "torch":
    return nn.initializers.zeros
  limit = 1 / math.sqrt(fan_in)
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
    key, shape, dtype, -limit, limit
  )
