"""Selective kernel convolution (Li et al. 2019): a picture weighs two branches."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.nets import inits
from ssljax.nets.activations import relu

MIN_HIDDEN = 32  # of the bottleneck, in the official code


class SelectiveConv(nn.Module):
  """A 3x3 convolution in two branches, BatchNorm, ReLU, and their weighted sum.

  As in SimCLR v2's code: both branches are 3x3 (the paper's second is dilated) and
  halves of one convolution. Their sum, averaged over the picture, passes a bottleneck
  of max(32, `ratio` * `width`); the two weights of each channel are a softmax. What
  comes out needs no norm or ReLU. `conv` and `norm` are the network's own.
  """

  width: int
  stride: int
  ratio: float
  conv: Any
  norm: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Convolves [B,H,W,C] in two weighted branches -> [B,H',W',width]."""
    x = self.conv(2 * self.width, 3, self.stride, name="conv")(x)
    x = relu(self.norm(name="bn")(x, train))
    branches = x.reshape(*x.shape[:3], 2, self.width)
    y = branches.mean((1, 2), dtype=jnp.float32).sum(1)[:, None, None]
    init = inits.KERNELS["lecun"]
    hidden = max(MIN_HIDDEN, int(self.ratio * self.width))
    y = self.conv(hidden, 1, kernel_init=init, name="fc1")(y)
    y = relu(self.norm(name="bn1")(y, train))
    y = self.conv(2 * self.width, 1, kernel_init=init, name="fc2")(y)
    y = y.reshape(-1, 1, 1, 2, self.width).astype(jnp.float32)
    return (branches * nn.softmax(y, axis=3).astype(x.dtype)).sum(3)
