"""ConvNeXt (Liu et al. 2022; with GRN, Woo et al. 2023): a ResNet made a ViT's way."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields.ranges import Count, NotNegative, Range
from ssljax.nets.activations import gelu
from ssljax.nets.conv import Conv
from ssljax.nets.depthwise import Depthwise
from ssljax.nets.module import Encoder, check_whole, folded
from ssljax.nets.norm import ChannelNorm
from ssljax.nets.transformer import drop_path

START = nn.initializers.normal(0.02)


class ResponseNorm(nn.Module):
  """Global response normalisation (Woo et al. 2023, algorithm 1).

  A channel's length over the map, by the mean of all channels', multiplies it; both
  are learned, from nothing on. Lengths are float32.
  """

  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises [B,H,W,C] -> the same shape and type."""
    learned = (
      self.param(name, nn.initializers.zeros, x.shape[-1:]).astype(x.dtype)
      for name in ("scale", "bias")
    )
    scale, bias = (a[None, None, None] for a in learned)
    square = jnp.square(x.astype(jnp.float32)).sum((1, 2), keepdims=True)
    length = jnp.sqrt(jnp.maximum(square, 1e-24))  # at 0 it has a gradient
    relative = length / (length.mean(-1, keepdims=True) + self.epsilon)
    return x + x * relative.astype(x.dtype) * scale + bias


class Block(nn.Module):
  """Depthwise 7x7, LayerNorm, and an MLP of four times the width: a residual.

  Where `shrinks` LayerNorm and a 2x2 convolution of stride 2 come first: the first
  block of a later stage.
  """

  width: int
  shrinks: bool
  layer_scale: float
  grn: bool
  drop_path: float
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool, keys: jax.Array | None = None
  ) -> jax.Array:
    """Adds a residual to [B,H,W,C] -> [B,H',W',width]; `keys` [B] feed drop path."""
    norm = partial(ChannelNorm, dtype=self.dtype)
    dense = partial(nn.Dense, kernel_init=START, dtype=self.dtype)
    if self.shrinks:
      x = norm(name="down_norm")(x)
      x = patches(self.width, 2, self.dtype, "down")(x).astype(jnp.float32)
    y = Depthwise(7, START, self.dtype, name="conv")(x)
    y = dense(4 * self.width, name="fc1")(norm(name="norm")(y))
    y = gelu(y)
    if self.grn:
      y = ResponseNorm(name="grn")(y)
    y = dense(self.width, name="fc2")(y)
    if self.layer_scale:
      start = nn.initializers.constant(self.layer_scale)
      scale = self.param("scale", start, (self.width,))
      y = y * scale.astype(y.dtype)[None, None, None]
    y = drop_path(y, self.drop_path if train else 0.0, keys)
    return x + y.astype(x.dtype)


def patches(width: int, side: int, dtype: Any, name: str) -> Conv:
  """Makes a convolution of patches [side,side] that do not overlap."""
  fields = {"padding": 0, "use_bias": True, "kernel_init": START, "dtype": dtype}
  return Conv(width, side, stride=side, name=name, **fields)


class ConvNeXt(Encoder):
  """ConvNeXt up to its mean pooling and the LayerNorm behind it, "features".

  "map" is what is pooled, which no last norm has seen. It gives 8 `width` features,
  where there are four stages. Pictures of 32 pixels take patches of 2 or 1: of the
  published 4 the last map is a single cell. `drop_path` grows linearly over the blocks
  to its value, and needs "keys" among the inputs. `grn` and layer_scale=0 make it V2's.

  Parameters are float32, and so is the residual stream whatever `dtype` is, as in the
  official code: its autocast adds to what a norm gave. With `remat` a block keeps its
  input alone and is computed once more for the gradient. The collection
  "intermediates" gives who asks for it "map", block by block.
  """

  stage_sizes: Sequence[Count]
  width: Count
  patch_size: Count = 4  # pixels
  layer_scale: NotNegative = 1e-6  # its start; 0: none
  grn: bool = False
  drop_path: Annotated[float, Range(0, below=1)] = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of the stem, then of block by block."""
    sizes = enumerate(self.stage_sizes, 1)
    blocks = ((f"layer{i}_{j}",) for i, n in sizes for j in range(n))
    return ("stem", "stem_norm"), *blocks

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"image" [B,H,W,C]} -> {"features" [B,D] f32, "map" [B,h,w,D]}."""
    check_whole(x)
    keys = x.get("keys")
    x = patches(self.width, self.patch_size, self.dtype, "stem")(x["image"])
    x = ChannelNorm(name="stem_norm")(x)
    block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
    total, number = sum(self.stage_sizes), 0
    for i, size in enumerate(self.stage_sizes):
      for j in range(size):
        x = block(
          width=self.width * 2**i,
          shrinks=i > 0 and j == 0,
          layer_scale=self.layer_scale,
          grn=self.grn,
          drop_path=self.drop_path * number / max(1, total - 1),
          dtype=self.dtype,
          name=f"layer{i + 1}_{j}",
        )(x, train, folded(keys, number))
        self.sow("intermediates", "map", x)
        number += 1
    pooled = x.mean((1, 2), dtype=jnp.float32)
    return {"features": ChannelNorm(name="norm")(pooled), "map": x}


ConvNeXtAtto = partial(ConvNeXt, stage_sizes=(2, 2, 6, 2), width=40)
ConvNeXtFemto = partial(ConvNeXt, stage_sizes=(2, 2, 6, 2), width=48)
ConvNeXtPico = partial(ConvNeXt, stage_sizes=(2, 2, 6, 2), width=64)
ConvNeXtNano = partial(ConvNeXt, stage_sizes=(2, 2, 8, 2), width=80)
ConvNeXtTiny = partial(ConvNeXt, stage_sizes=(3, 3, 9, 3), width=96)
ConvNeXtSmall = partial(ConvNeXt, stage_sizes=(3, 3, 27, 3), width=96)
ConvNeXtBase = partial(ConvNeXt, stage_sizes=(3, 3, 27, 3), width=128)
