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


def of_tokens(position: str, width: int, inputs: int, std: float) -> tuple:
  """Makes a vision transformer's: of qkv, of other dense kernels, of the patches'.

  `position` says whose they are (see `vit.ViT`), `inputs` how many numbers a patch has.
  All are normal(`std`) where that is not 0.
  """
  if std:
    return (nn.initializers.normal(std),) * 3
  if not position.startswith("sincos"):
    normal = nn.initializers.normal(0.02)
    return normal, normal, KERNELS["torch"]
  xavier, patches = nn.initializers.xavier_uniform(), (6 / (inputs + width)) ** 0.5
  apart = uniform((6 / (2 * width)) ** 0.5)  # q, k and v: MoCo v3's
  as_one = position == "sincos_columns"
  return xavier if as_one else apart, xavier, uniform(patches)


def bias(name: str, fan_in: int) -> Callable:
  """Makes a bias's initializer by its kernel's name: PyTorch's uniform, else 0."""
  if name != "torch":
    return nn.initializers.zeros
  return uniform(1 / math.sqrt(fan_in))
