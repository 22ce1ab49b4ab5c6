"""Residual networks (He et al. 2016) as torchvision lays them out."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields.ranges import Count, Number, OneOf, Share
from ssljax.nets import inits
from ssljax.nets.activations import relu
from ssljax.nets.conv import Conv
from ssljax.nets.map_pool import MapPool
from ssljax.nets.module import Encoder
from ssljax.nets.norm import BatchNorm, LayerNorm
from ssljax.nets.selective import SelectiveConv

STEMS = ("imagenet", "cifar")
NORMS = ("batch", "layer")
PADDINGS = ("torch", "same", "fixed")
POOLS = ("mean", "attention")


class BasicBlock(nn.Module):
  """Two 3x3 convolutions; the block of ResNet-18 and 34."""

  width: int
  stride: int
  conv: Any
  norm: Any
  zero_init_gamma: bool
  sk_ratio: float
  blurred: bool = False

  expansion = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Adds a residual to [B,H,W,C] -> [B,H',W',expansion * width]."""
    stride = 1 if self.blurred else self.stride
    y = self.conv(self.width, 3, stride, name="conv1")(x)
    y = relu(self.norm(name="bn1")(y, train))
    y = _mean(y, self.stride if self.blurred else 1)
    y = self.conv(self.width, 3, name="conv2")(y)
    y = self.norm(scale_init=_gamma(self.zero_init_gamma), name="bn2")(y, train)
    return relu(y + _shortcut(self, x, train))


class Bottleneck(nn.Module):
  """1x1, 3x3, 1x1; the block of ResNet-50 and deeper. Strides in the 3x3 (v1.5).

  With `sk_ratio` the 3x3 is a selective kernel convolution.
  """

  width: int
  stride: int
  conv: Any
  norm: Any
  zero_init_gamma: bool
  sk_ratio: float
  blurred: bool = False

  expansion = 4

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Adds a residual to [B,H,W,C] -> [B,H',W',expansion * width]."""
    y = self.conv(self.width, 1, name="conv1")(x)
    y = relu(self.norm(name="bn1")(y, train))
    if self.sk_ratio:
      sk = SelectiveConv(
        self.width, self.stride, self.sk_ratio, self.conv, self.norm, name="sk"
      )
      y = sk(y, train)
    else:
      stride = 1 if self.blurred else self.stride
      y = self.conv(self.width, 3, stride, name="conv2")(y)
      y = relu(self.norm(name="bn2")(y, train))
      y = _mean(y, self.stride if self.blurred else 1)
    y = self.conv(4 * self.width, 1, name="conv3")(y)
    y = self.norm(scale_init=_gamma(self.zero_init_gamma), name="bn3")(y, train)
    return relu(y + _shortcut(self, x, train))


def _gamma(zero: bool) -> nn.initializers.Initializer:
  return nn.initializers.zeros if zero else nn.initializers.ones


def _shortcut(block: nn.Module, x: jax.Array, train: bool) -> jax.Array:
  """Returns x itself, or its 1x1 convolution where the block changes the shape.

  With `sk_ratio` a 2x2 mean strides in its place (ResNet-D); as in the official code
  it is there at stride 1 too.
  """
  width, stride = block.expansion * block.width, block.stride
  if stride == 1 and x.shape[-1] == width:
    return x
  if block.sk_ratio:
    x, stride = _mean_2x2(x, stride), 1
  elif block.blurred:
    x, stride = _mean(x, stride), 1
  x = block.conv(width, 1, stride, name="downsample_conv")(x)
  return block.norm(name="downsample_bn")(x, train)


def _mean(x: jax.Array, side: int) -> jax.Array:
  """Averages squares of [B,H,W,C] that do not overlap; what is over is left out."""
  if side == 1:
    return x
  batch, height, width, channels = x.shape
  height, width = height // side, width // side
  x = x[:, : height * side, : width * side]
  return x.reshape(batch, height, side, width, side, channels).mean((2, 4))


def _mean_2x2(x: jax.Array, stride: int) -> jax.Array:
  """Averages each pixel of [B,H,W,C] with its right and lower neighbours.

  At the border with those that exist. (At stride 2 and an odd side, which pictures
  of 224 or 32 pixels never lead to, the official code adds zeros.)
  """
  x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
  x = (x[:, :-1:stride] + x[:, 1::stride]) / 2
  return (x[:, :, :-1:stride] + x[:, :, 1::stride]) / 2


class ResNet(Encoder):
  """ResNet v1.5 up to its global mean pooling, "features", and what is pooled, "map".

  It gives 8 `width` features with basic blocks, 32 `width` with bottlenecks;
  width=128 is the papers' "2x". The "imagenet" stem is a 7x7 convolution of stride
  2 and a max-pool, the "cifar" stem one 3x3 convolution of stride 1.
  `sk_ratio` makes it SimCLR v2's: bottlenecks have selective kernels (basic blocks,
  as in the official code, do not), the "imagenet" stem is three 3x3 convolutions and
  shortcuts stride by a mean (ResNet-D, He et al. 2019).
  padding="same" is TensorFlow's in every layer that strides (BYOL's Haiku); "fixed" is
  that of SimCLR's code, the same in the max-pool alone. "torch" is symmetric.
  Kernels start by `start`, one of `inits.KERNELS`, the stem's by `stem_start` if given.
  With `blurred`, as in CLIP's (Radford et al. 2021), no block's convolution strides: a
  mean behind it does, and before the shortcut's; the "imagenet" stem is the three
  convolutions, and its pool a mean of 2x2.
  pool="attention" reads the map off as CLIP does (`map_pool.MapPool`), with positions
  learned for pictures of `image_size`, and gives `out` features.
  norm="layer" replaces BatchNorm, whose are `bn_group_size` and `bn_strided`, by
  LayerNorm. Parameters are float32; `dtype` is the compute type. With `remat` a block
  keeps its input alone and is computed once more for the gradient.

  The collection "intermediates" gives who asks for it "map", block by block.
  """

  stage_sizes: Sequence[Count]
  block: type[nn.Module]
  width: Count = 64
  stem: Annotated[str, OneOf(STEMS)] = "imagenet"
  stem_width: Number = 0  # channels; 0: `width` (CMC has 64 under every width)
  stem_relu: bool = True  # behind its norm (lightly's benchmark has none)
  start: Annotated[str, OneOf(inits.KERNELS)] = "he_fan_out"
  stem_start: Annotated[str, OneOf(("", *inits.KERNELS))] = ""
  zero_init_gamma: bool = False  # last scale of each block: starts as the identity
  sk_ratio: Share = 0.0  # hidden / width of selective kernels; 0: none
  padding: Annotated[str, OneOf(PADDINGS)] = "torch"
  blurred: bool = False
  pool: Annotated[str, OneOf(POOLS)] = "mean"
  heads: Number = 0  # of pool="attention"; 0: of 64 numbers each
  image_size: Count = 224  # pixels; where its positions live
  out: Number = 0  # features that it gives; 0: as many as the map has
  norm: Annotated[str, OneOf(NORMS)] = "batch"
  bn_group_size: Number = 0
  bn_strided: bool = False
  remat: bool = False
  dtype: Any = jnp.float32

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of the stem, then of block by block."""
    blocks = (
      (f"layer{i}_{j}",) for i, n in enumerate(self.stage_sizes, 1) for j in range(n)
    )
    stem = "stem_conv1", "stem_bn1", "stem_conv2", "stem_bn2", "conv1", "bn1"
    return stem, *blocks

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"image" [B,H,W,C]} -> {"features" [B,D] f32, "map" [B,h,w,D]}."""
    same = self.padding == "same"
    conv = partial(Conv, same=same, dtype=self.dtype)
    conv = partial(conv, kernel_init=inits.KERNELS[self.start])
    stem = partial(conv, kernel_init=inits.KERNELS[self.stem_start or self.start])
    stem_width = self.stem_width or self.width
    norm = partial(LayerNorm, dtype=self.dtype)
    if self.norm == "batch":
      norm = partial(
        BatchNorm,
        group_size=self.bn_group_size,
        strided=self.bn_strided,
        dtype=self.dtype,
      )
    x, (kernel, stride) = x["image"], (7, 2) if self.stem == "imagenet" else (3, 1)
    if self.stem == "imagenet" and (self.sk_ratio or self.blurred):
      x = stem(stem_width // 2, 3, 2, name="stem_conv1")(x)
      x = relu(norm(name="stem_bn1")(x, train))
      x = stem(stem_width // 2, 3, name="stem_conv2")(x)
      x = relu(norm(name="stem_bn2")(x, train))
      kernel, stride = 3, 1
    x = stem(stem_width, kernel, stride, name="conv1")(x)
    x = norm(name="bn1")(x, train)
    if self.stem_relu:
      x = relu(x)
    if self.stem == "imagenet" and self.blurred:
      x = _mean(x, 2)
    elif self.stem == "imagenet":
      sides = ((1, 1), (1, 1)) if self.padding == "torch" else "SAME"
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=sides)
    kind = nn.remat(self.block, static_argnums=(2,)) if self.remat else self.block
    for i, size in enumerate(self.stage_sizes):
      for j in range(size):
        block = kind(
          width=self.width * 2**i,
          stride=2 if i > 0 and j == 0 else 1,
          conv=conv,
          norm=norm,
          zero_init_gamma=self.zero_init_gamma,
          sk_ratio=self.sk_ratio,
          blurred=self.blurred,
          name=f"layer{i + 1}_{j}",
        )
        x = block(x, train)
        self.sow("intermediates", "map", x)
    return {"features": self._pooled(x).astype(jnp.float32), "map": x}

  def _pooled(self, x: jax.Array) -> jax.Array:
    """Pools a map [B,h,w,D] -> [B,D] or [B,out]."""
    if self.pool == "mean":
      return x.mean((1, 2), dtype=jnp.float32)
    stride = 2 ** (len(self.stage_sizes) - 1) * (4 if self.stem == "imagenet" else 1)
    side, out = max(1, self.image_size // stride), self.out or x.shape[-1]
    return MapPool(side, out, self.heads, self.dtype, name="pool")(x)


ResNet18 = partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock)
ResNet34 = partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock)
ResNet50 = partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck)
ResNet101 = partial(ResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck)
ResNet152 = partial(ResNet, stage_sizes=(3, 8, 36, 3), block=Bottleneck)
