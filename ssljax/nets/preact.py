"""Pre-activation residual networks (He et al. 2016b): Keras's, and wide ones."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields.ranges import Count, Number
from ssljax.nets.activations import relu
from ssljax.nets.conv import Conv
from ssljax.nets.module import Encoder
from ssljax.nets.norm import BatchNorm


class Block(nn.Module):
  """Figure 4(e): BatchNorm and ReLU before each convolution of 1x1, 3x3, 1x1."""

  width: int
  out: int
  stride: int
  conv: Any
  norm: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Adds two convolutions' residual to [B,H,W,C] -> [B,H',W',out]."""
    y = self.conv(self.width, 1, name="conv1")(self._before(x, train, "bn1"))
    y = self.conv(self.width, 3, self.stride, name="conv2")(
      self._before(y, train, "bn2")
    )
    y = self.conv(self.out, 1, name="conv3")(self._before(y, train, "bn3"))
    if x.shape != y.shape:
      x = self.conv(self.out, 1, self.stride, name="downsample_conv")(x)
    return x + y

  def _before(self, x: jax.Array, train: bool, name: str) -> jax.Array:
    return relu(self.norm(name=name)(x, train))


class PreActResNet(Encoder):
  """The CIFAR network: 3x3 convolution, three stages, BatchNorm, ReLU, mean pooling.

  It gives 16 `width` features. A block of the first stage is `width` wide inside and
  four times that outside, those of later stages half of their 8 and 16 times `width`.
  The stem is followed by BatchNorm and ReLU of its own, as in Keras. Parameters are
  float32; `dtype` is the compute type. The collection "intermediates" gives who asks
  for it "map", block by block, the last one's after the last norm.
  """

  stage_sizes: Sequence[Count]
  width: Count = 16
  dtype: Any = jnp.float32

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of the stem, then of block by block."""
    return ("conv1", "bn1"), *_blocks(self.stage_sizes)

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"image" [B,H,W,C]} -> {"features" [B,D] f32, "map" [B,h,w,D]}."""
    conv = partial(Conv, dtype=self.dtype)
    norm = partial(BatchNorm, dtype=self.dtype)
    x = conv(self.width, 3, name="conv1")(x["image"])
    x = relu(norm(name="bn1")(x, train))
    for i, size in enumerate(self.stage_sizes):
      out = 4 * self.width * 2**i
      for j in range(size):
        block = Block(
          width=out // 2 if i else self.width,
          out=out,
          stride=2 if i > 0 and j == 0 else 1,
          conv=conv,
          norm=norm,
          name=f"layer{i + 1}_{j}",
        )
        x = block(x, train)
        if (i, j) != (len(self.stage_sizes) - 1, size - 1):
          self.sow("intermediates", "map", x)
    x = relu(norm(name="bn_last")(x, train))
    self.sow("intermediates", "map", x)
    return {"features": x.mean((1, 2), dtype=jnp.float32), "map": x}


class WideBlock(nn.Module):
  """BatchNorm and ReLU before each of two 3x3 convolutions.

  A shortcut that changes the shape is a 1x1 convolution of what the first of them sees.
  """

  width: int
  stride: int
  conv: Any
  norm: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Adds a residual to [B,H,W,C] -> [B,H',W',width]."""
    active = relu(self.norm(name="bn1")(x, train))
    y = self.conv(self.width, 3, self.stride, name="conv1")(active)
    y = relu(self.norm(name="bn2")(y, train))
    y = self.conv(self.width, 3, name="conv2")(y)
    if x.shape != y.shape:
      x = self.conv(self.width, 1, self.stride, name="downsample_conv")(active)
    return x + y


class WideResNet(Encoder):
  """Wide residual network (Zagoruyko & Komodakis 2016) of pictures of 32 pixels.

  3x3 convolution of `width` channels, three stages of 1, 2 and 4 times `widen` as many,
  BatchNorm, ReLU, mean pooling: 4 `width` `widen` features. Parameters are float32;
  `dtype` is the compute type; BatchNorm's groups are `bn_group_size` and `bn_strided`.
  With `remat` a block keeps its input alone and is computed once more for the gradient.
  The collection "intermediates" gives who asks for it "map", block by block, the last
  one's after the last norm.
  """

  stage_sizes: Sequence[Count]
  widen: Count
  width: Count = 16  # of the stem
  bn_group_size: Number = 0
  bn_strided: bool = False
  remat: bool = False
  dtype: Any = jnp.float32

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of the stem, then of block by block."""
    return ("conv1",), *_blocks(self.stage_sizes)

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"image" [B,H,W,C]} -> {"features" [B,D] f32, "map" [B,h,w,D]}."""
    conv = partial(Conv, dtype=self.dtype)
    groups = {"group_size": self.bn_group_size, "strided": self.bn_strided}
    norm = partial(BatchNorm, **groups, dtype=self.dtype)
    kind = nn.remat(WideBlock, static_argnums=(2,)) if self.remat else WideBlock
    x = conv(self.width, 3, name="conv1")(x["image"])
    for i, size in enumerate(self.stage_sizes):
      for j in range(size):
        x = kind(
          width=self.widen * self.width * 2**i,
          stride=2 if i > 0 and j == 0 else 1,
          conv=conv,
          norm=norm,
          name=f"layer{i + 1}_{j}",
        )(x, train)
        if (i, j) != (len(self.stage_sizes) - 1, size - 1):
          self.sow("intermediates", "map", x)
    x = relu(norm(name="bn_last")(x, train))
    self.sow("intermediates", "map", x)
    return {"features": x.mean((1, 2), dtype=jnp.float32), "map": x}


def _blocks(stage_sizes: Sequence[int]) -> tuple[tuple[str], ...]:
  """Lists the names of blocks, each of a depth of its own."""
  sizes = enumerate(stage_sizes, 1)
  return tuple((f"layer{i}_{j}",) for i, n in sizes for j in range(n))


WideResNet28 = partial(
  WideResNet, stage_sizes=(4, 4, 4)
)  # 6 layers a block of each stage, and 4
ResNet20v2 = partial(PreActResNet, stage_sizes=(2, 2, 2))
WideResNet28x2 = partial(WideResNet28, widen=2)
WideResNet28x8 = partial(WideResNet28, widen=8)
WideResNet28x10 = partial(WideResNet28, widen=10)
