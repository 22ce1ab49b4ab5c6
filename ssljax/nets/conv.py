"""Convolution, with a gradient that a CPU computes at a bearable speed."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class Conv(nn.Module):
  """Square convolution with a kernel [k,k,C,features], float32.

  Padding is explicit and symmetric as in PyTorch: k // 2 unless given.
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: int | None = None
  use_bias: bool = False
  kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
    2.0, "fan_out", "normal"
  )
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B,H,W,C] -> [B,H',W',features] in `dtype`."""
    k = self.kernel_size
    padding = k // 2 if self.padding is None else self.padding
    shape = (k, k, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
    y = conv2d(x.astype(self.dtype), kernel, self.stride, padding)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      y = y + bias.astype(self.dtype)[None, None, None]
    return y


def conv2d(
  x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0
) -> jax.Array:
  """Image [B,H,W,C], kernel [k,k,C,D] -> [B,H',W',D] by cross-correlation."""
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=((padding, padding), (padding, padding)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
