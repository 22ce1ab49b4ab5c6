"""Swin transformer (Liu et al. 2021): attention within windows, shifted in turn."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Positive, Range
from ssljax.nets import inits, positions
from ssljax.nets.activations import gelu
from ssljax.nets.conv import Conv
from ssljax.nets.module import Encoder, check_whole, folded
from ssljax.nets.norm import ChannelNorm
from ssljax.nets.transformer import drop_path

START = nn.initializers.normal(0.02)
APART = -100.0  # added to scores of what only a shift made neighbours, as published


class WindowAttention(nn.Module):
  """Attention within windows [side,side]; a bias tells where a key lies from a query.

  With `shifts` windows lie half a side further on, and what then comes from the other
  border is masked. A map is filled with zeros up to whole windows; a side that is one
  window is not shifted. Both as torchvision has it. The softmax is float32.
  """

  heads: int
  side: int
  shifts: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends over [B,H,W,D] -> the same shape in `dtype`."""
    _, height, width, dim = x.shape
    side, dense = self.side, partial(nn.Dense, kernel_init=START, dtype=self.dtype)
    x = jnp.pad(x, ((0, 0), (0, -height % side), (0, -width % side), (0, 0)))
    sides = x.shape[1:3]
    shifts = [side // 2 if self.shifts and side < n else 0 for n in sides]
    x = jnp.roll(x, [-shift for shift in shifts], (1, 2))
    qkv = dense(3 * dim, name="qkv")(_windows(x, side))
    qkv = qkv.reshape(*qkv.shape[:3], 3, self.heads, dim // self.heads)
    q, k, v = (qkv[:, :, :, i] for i in range(3))
    scores = jnp.einsum("bwqhd,bwkhd->bwhqk", q, k, preferred_element_type=jnp.float32)
    table = self.param("position", START, ((2 * side - 1) ** 2, self.heads))
    bias = table[positions.relative_index(side, side)].transpose(2, 0, 1)
    scores = scores * q.shape[-1] ** -0.5 + bias[None, None]
    if any(shifts):
      scores = scores + _apart(sides, shifts, side)[None, :, None]
    weights = jax.nn.softmax(scores).astype(v.dtype)
    x = jnp.einsum("bwhqk,bwkhd->bwqhd", weights, v)
    x = dense(dim, name="proj")(x.reshape(*x.shape[:3], dim))
    x = _joined(x, sides, side)
    return jnp.roll(x, shifts, (1, 2))[:, :height, :width]


def _windows(x: jax.Array, side: int) -> jax.Array:
  """Parts maps [B,H,W,D] -> windows [B,n,side * side,D], row by row."""
  batch, height, width, dim = x.shape
  x = x.reshape(batch, height // side, side, width // side, side, dim)
  return x.swapaxes(2, 3).reshape(batch, -1, side**2, dim)


def _joined(x: jax.Array, sides: tuple[int, ...], side: int) -> jax.Array:
  """Joins windows [B,n,side * side,D] -> maps [B,H,W,D] of `sides`."""
  high, wide = (n // side for n in sides)
  x = x.reshape(len(x), high, wide, side, side, -1)
  return x.swapaxes(2, 3).reshape(len(x), *sides, x.shape[-1])


def _apart(sides, shifts, side: int) -> np.ndarray:
  """Makes what is added to scores [n,N,N] of tokens that the border kept apart."""
  row, column = (
    np.digitize(np.arange(n), [n - side, n - shift]) if shift else np.zeros(n, int)
    for n, shift in zip(sides, shifts, strict=True)
  )
  region = (3 * row[:, None] + column[None]).reshape(1, *sides, 1)
  high, wide = (n // side for n in sides)
  region = region.reshape(high, side, wide, side).swapaxes(1, 2).reshape(-1, side**2)
  return np.where(region[:, :, None] == region[:, None], 0.0, APART).astype(np.float32)


class Block(nn.Module):
  """Pre-norm: attention within windows, then an MLP of four times the width.

  Where `shrinks` four neighbours join first, normalised and mapped to `width`: the
  first block of a later stage.
  """

  width: int
  heads: int
  window: int
  shifts: bool
  shrinks: bool
  drop_path: float
  epsilon: float
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool, keys: jax.Array | None = None
  ) -> jax.Array:
    """Adds residuals to [B,H,W,C] -> [B,H',W',width]; `keys` [B] feed drop path."""
    norm = partial(ChannelNorm, self.epsilon, dtype=self.dtype)
    dense = partial(nn.Dense, kernel_init=START, dtype=self.dtype)
    if self.shrinks:
      x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
      four = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
      x = norm(name="down_norm")(jnp.concatenate(four, -1))
      x = dense(self.width, False, name="down")(x).astype(jnp.float32)
    share = self.drop_path if train else 0.0
    attention = WindowAttention(
      self.heads, self.window, self.shifts, self.dtype, name="attn"
    )
    y = attention(norm(name="norm1")(x))
    x = x + drop_path(y, share, keys, 0).astype(x.dtype)
    y = gelu(dense(4 * self.width, name="fc1")(norm(name="norm2")(x)))
    y = dense(self.width, name="fc2")(y)
    return x + drop_path(y, share, keys, 1).astype(x.dtype)


class Swin(Encoder):
  """Swin up to its last norm, "map", and the mean of that, "features".

  A stage has twice the width of the one before and half its rows and columns: 8
  `width` features, where there are four. Windows have `window` patches a side. Pictures
  of 32 pixels take patches of 2 and windows of 4. `drop_path` grows linearly over the
  blocks to its value (the paper's Swin-T: 0.2), and needs "keys" among the inputs.

  Parameters are float32, and so is the residual stream whatever `dtype` is. With
  `remat` a block keeps its input alone and is computed once more for the gradient. The
  collection "intermediates" gives who asks for it "map", block by block, the last one's
  after the last norm. ConfigError unless `head_width` divides the width.
  """

  stage_sizes: Sequence[Count]
  width: Count
  patch_size: Count = 4  # pixels
  window: Count = 7  # patches
  head_width: Count = 32
  drop_path: Annotated[float, Range(0, below=1)] = 0.0
  epsilon: Positive = 1e-5  # of norms
  remat: bool = False
  dtype: Any = jnp.float32

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of what makes the tokens, then of block by block."""
    sizes = enumerate(self.stage_sizes, 1)
    blocks = ((f"layer{i}_{j}",) for i, n in sizes for j in range(n))
    return ("embed", "embed_norm"), *blocks

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"image" [B,H,W,C]} -> {"features" [B,D] f32, "map" [B,h,w,D]}."""
    check_whole(x)
    if self.width % self.head_width:
      raise ConfigError(
        f"encoder.head_width={self.head_width} must divide encoder.width={self.width}"
      )
    keys, x = x.get("keys"), x["image"]
    x = Conv(
      self.width,
      self.patch_size,
      stride=self.patch_size,
      padding=0,
      use_bias=True,
      kernel_init=inits.KERNELS["torch"],
      dtype=self.dtype,
      name="embed",
    )(x)
    x = ChannelNorm(self.epsilon, name="embed_norm")(x)
    block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
    total, number = sum(self.stage_sizes), 0
    for i, size in enumerate(self.stage_sizes):
      for j in range(size):
        x = block(
          width=self.width * 2**i,
          heads=self.width * 2**i // self.head_width,
          window=self.window,
          shifts=j % 2 == 1,
          shrinks=i > 0 and j == 0,
          drop_path=self.drop_path * number / max(1, total - 1),
          epsilon=self.epsilon,
          dtype=self.dtype,
          name=f"layer{i + 1}_{j}",
        )(x, train, folded(keys, number))
        number += 1
        if number == total:
          x = ChannelNorm(self.epsilon, name="norm")(x)
        self.sow("intermediates", "map", x)
    return {"features": x.mean((1, 2)), "map": x}


SwinT = partial(Swin, stage_sizes=(2, 2, 6, 2), width=96)
SwinS = partial(Swin, stage_sizes=(2, 2, 18, 2), width=96)
SwinB = partial(Swin, stage_sizes=(2, 2, 18, 2), width=128)
