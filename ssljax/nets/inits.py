"""How weights start, by the library whose habit it is."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

scaling = nn.initializers.variance_scaling
CUT = 0.87962566103423978  # deviation of a unit normal that is cut at 2

KERNELS = {  # of kernels [...,in,out]
  "he_fan_out": scaling(2.0, "fan_out", "normal"),  # torchvision's ResNets
  "lecun": scaling(1.0, "fan_in", "truncated_normal"),  # TensorFlow's: SimCLR
  "haiku": scaling(CUT**2, "fan_in", "truncated_normal"),  # does not make up for it
  "torch": scaling(1 / 3, "fan_in", "uniform"),  # U(±1/sqrt(fan_in)), PyTorch's
  "zeros": nn.initializers.zeros,
}


def uniform(bound: float) -> Callable:
  """Makes an initializer, uniform in ±bound."""

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def bias(name: str, fan_in: int) -> Callable:
  """Makes a bias's initializer by its kernel's name: PyTorch's uniform, else 0."""
  if name != "torch":
    return nn.initializers.zeros
  return uniform(1 / math.sqrt(fan_in))
