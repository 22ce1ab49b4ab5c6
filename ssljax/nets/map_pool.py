"""Attention that pools a map of features (Radford et al. 2021, CLIP)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.nets import attention, positions

HEAD = 64  # numbers of a head in CLIP's


class MapPool(nn.Module):
  """Reads a map off by its mean, which attends to all places and to itself.

  Positions are learned for a map of `side` x `side` and the mean before it, and
  interpolated for maps of other sizes (as timm does; the official code takes one size).
  There is no residual: what comes out is a linear map of what the mean attended to.
  ConfigError unless the heads divide D.
  """

  side: int
  out: int
  heads: int = 0  # 0: as many as have 64 numbers each
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Pools a map [B,h,w,D] -> [B,out] in `dtype`."""
    batch, height, width, dim = x.shape
    heads = self.heads or max(1, dim // HEAD)
    if dim % heads:
      raise ConfigError(f"encoder.heads={heads} must divide the map's {dim} features")
    normal = nn.initializers.normal(dim**-0.5)
    table = self.param("position", normal, (1, 1 + self.side**2, dim))
    if (height, width) != (self.side, self.side):
      grid = table[0, 1:].reshape(self.side, self.side, dim)
      grid = positions.resize_positions(grid, height, width, "antialias")
      table = jnp.concatenate([table[:, :1], grid.reshape(1, -1, dim)], axis=1)
    x = x.reshape(batch, height * width, dim).astype(jnp.float32)
    x = jnp.concatenate([x.mean(axis=1, keepdims=True), x], axis=1) + table
    qkv = nn.Dense(3 * dim, kernel_init=normal, dtype=self.dtype, name="qkv")(x)
    qkv = qkv.reshape(batch, -1, 3, heads, dim // heads)
    q, k, v = qkv[:, :1, 0], qkv[:, :, 1], qkv[:, :, 2]
    y = attention.attend(q, k, v, implementation="xla").reshape(batch, dim)
    return nn.Dense(self.out, kernel_init=normal, dtype=self.dtype, name="proj")(y)
