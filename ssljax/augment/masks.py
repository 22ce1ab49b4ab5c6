"""Which patches of a view are hidden from the network: drawn example by example.

A kind of mask is a class whose `draw` makes entries of a batch; the first of them is
named `entry`, and 0 of the field `switch` draws none.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import fields
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Number, Positive, Share

LEAST = 4  # patches of a block
LONGEST = 1 / 0.3  # side of a block to the other
SLACK = 1e-4  # of a patch, to which a share of them is a whole number
TRIES = 8  # blocks that are drawn; what they leave to hide are single patches


@dataclasses.dataclass(frozen=True)
class Blocks:
  """Hides rectangles of patches in some of the views (BEiT, Bao et al. 2022).

  A view hides patches with probability `mask_p` (0.5 in iBOT, Zhou et al. 2022), a
  share of them that is uniform from `mask_min` to `mask_max`, one patch at least. With
  `mask_unit` squares of so many pixels are hidden, each as likely, in place of
  rectangles; of these the share is rounded up (SimMIM, Xie et al. 2022: 32).
  """

  patch_size: Count = 16  # the encoder's
  mask_p: Share = 0.0  # 0: no view hides any, and batches have no mask
  mask_min: Share = 0.1
  mask_max: Share = 0.5
  mask_unit: Number = 0  # pixels

  entry: ClassVar[str] = "mask"
  switch: ClassVar[str] = "mask_p"

  def __post_init__(self):
    """Raises ConfigError where no share of patches is between the two."""
    fields.check_instance("augment", self)
    if self.mask_min > self.mask_max:
      raise ConfigError(
        f"augment.mask_min={self.mask_min} must be at most mask_max={self.mask_max}; "
        "try 0.1 and 0.5"
      )
    if self.mask_unit % self.patch_size:
      raise ConfigError(
        f"augment.mask_unit={self.mask_unit} must be a multiple of patch_size="
        f"{self.patch_size}; try {2 * self.patch_size}, or 0 for rectangles"
      )

  def draw(
    self, keys: jax.Array, views: int, rows: int, columns: int
  ) -> dict[str, jax.Array]:
    """Draws "mask" bool [B,views,rows * columns] by keys [B]; True: it is hidden."""
    side = self.mask_unit // self.patch_size or 1
    if rows % side or columns % side:
      raise ConfigError(
        f"augment.mask_unit={self.mask_unit} must divide the views' "
        f"{rows * self.patch_size} pixels; try {self.patch_size}"
      )
    grid = rows // side, columns // side

    def one(key):
      key_blocks, key_share = jax.random.split(key)
      hides, share = jax.random.uniform(key_share, (2,))
      share = self.mask_min + (self.mask_max - self.mask_min) * share
      count = share * (grid[0] * grid[1])
      # In float32 60 % of 25 are 15.000001, and 29 % of 100 are 28.999998.
      count = jnp.ceil(count - SLACK) if self.mask_unit else jnp.floor(count + SLACK)
      count = jnp.maximum(count.astype(jnp.int32), 1)
      count = jnp.where(hides < self.mask_p, count, 0)
      if not self.mask_unit:
        return {"mask": blocks(key_blocks, rows, columns, count)}
      hidden = jax.random.permutation(key_blocks, grid[0] * grid[1]) < count
      hidden = hidden.reshape(grid).repeat(side, 0).repeat(side, 1)
      return {"mask": hidden.ravel()}

    return _by_view(one, keys, views)


@dataclasses.dataclass(frozen=True)
class Multiblock:
  """Blocks of patches to predict, and what is left to see (I-JEPA, Assran et al. 2023).

  The `targets` blocks of a view are of one size, a share of the patches from
  `target_min` to `target_max` with height / width from `ratio_min` to `ratio_max`, and
  lie anywhere. A square block, a share from `context_min` to `context_max`, is seen
  but for them: `context_least` of all patches at least, and `context_most` at most,
  then drawn from it, for which arrays have room.

  The official code draws sizes for a batch, cuts all contexts to the smallest of a
  GPU's, and never covers the last row and column; here they are drawn for each view
  and its index alone.
  """

  patch_size: Count = 16  # the encoder's
  targets: Number = 4
  target_min: Share = 0.15
  target_max: Share = 0.2
  ratio_min: Positive = 0.75
  ratio_max: Positive = 1.5
  context_min: Share = 0.85
  context_max: Share = 1.0
  context_least: Share = 0.05
  context_most: Share = 0.5

  entry: ClassVar[str] = "target"
  switch: ClassVar[str] = "targets"

  def __post_init__(self):
    """Raises ConfigError where nothing is between two bounds."""
    fields.check_instance("augment", self)
    for name in ("target", "ratio", "context"):
      low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
      if low > high:
        raise ConfigError(
          f"augment.{name}_min={low} must be at most {name}_max={high}; I-JEPA's are "
          "0.15 and 0.2 of targets, 0.75 and 1.5 of ratios, 0.85 and 1 of contexts"
        )
    if self.context_least > self.context_most:
      raise ConfigError(
        f"augment.context_least={self.context_least} must be at most "
        f"context_most={self.context_most}; try 0.05 and 0.5"
      )

  def draw(
    self, keys: jax.Array, views: int, rows: int, columns: int
  ) -> dict[str, jax.Array]:
    """Draws by keys [B] patches of each view, by their number in the rows of the grid.

    "target" i32 [B,V,M,T] with "weight" f32 of the same shape, 1 where a patch is in
    its block and 0 where it only fills the array; "context" i32 [B,V,K], of which the
    first "seen" i32 [B,V] are to be seen. T is the most a block can have.
    """
    count = rows * columns
    width = self._target_size(np.linspace(0, 1, 4096), rows, columns)
    most_targets = int((width[0] * width[1]).max())
    most = max(1, round(self.context_most * count))
    least = max(1, round(self.context_least * count))
    row, column = (jnp.float32(x).ravel() for x in np.mgrid[:rows, :columns])

    def rectangle(place, height, width):
      top = jnp.floor(place[0] * (rows - height + 1))
      left = jnp.floor(place[1] * (columns - width + 1))
      covers = (row >= top) & (row < top + height)
      return covers & (column >= left) & (column < left + width)

    def one(key):
      key_size, key_place, key_order = jax.random.split(key, 3)
      u = jax.random.uniform(key_size, (2,))
      places = jax.random.uniform(key_place, (self.targets + 1, 2))
      height, width = self._target_size(u[0], rows, columns)
      covered = jax.vmap(lambda place: rectangle(place, height, width))(places[1:])
      target = jnp.argsort(~covered, axis=1, stable=True)[:, :most_targets]
      weight = jnp.take_along_axis(covered, target, axis=1).astype(jnp.float32)
      share = self.context_min + u[1] * (self.context_max - self.context_min)
      side = jnp.maximum(1.0, jnp.round(jnp.sqrt(share * count)))
      block = jnp.minimum(side, rows), jnp.minimum(side, columns)
      # What may be seen comes first, then what else is in no target.
      outside = 1 - rectangle(places[0], *block).astype(jnp.int32)
      rank = 2 * covered.sum(0) + outside
      noise = jax.random.uniform(key_order, (count,))
      order = jnp.argsort(rank.astype(jnp.float32) + noise)
      seen = jnp.clip((rank == 0).sum(), least, most)
      context = {"context": order[:most], "seen": seen}
      return {"target": target, "weight": weight, **context}

    return _by_view(one, keys, views)

  def _target_size(self, u, rows: int, columns: int):
    """Maps u from 0 to 1 to a block's height and width, as the official code does.

    The larger the block, the higher for its width.
    """
    share = self.target_min + u * (self.target_max - self.target_min)
    ratio = self.ratio_min + u * (self.ratio_max - self.ratio_min)
    library = jnp if isinstance(u, jax.Array) else np
    area = library.floor(rows * columns * share)
    height = library.round((area * ratio) ** 0.5)
    width = library.round((area / ratio) ** 0.5)
    return height.clip(1, rows), width.clip(1, columns)


KINDS = Blocks, Multiblock


def _by_view(one, keys: jax.Array, views: int) -> dict[str, jax.Array]:
  """Draws entries by one(key) for each of so many views of examples with keys [B]."""
  example_keys = jax.vmap(lambda key: jax.random.fold_in(key, MASKS))(keys)
  view_keys = jax.vmap(lambda key: jax.random.split(key, views))(example_keys)
  return jax.vmap(jax.vmap(one))(view_keys)


MASKS = 1 << 20  # folded into an example's key: the numbers before are of its views


def blocks(key: jax.Array, rows: int, columns: int, count: jax.Array) -> jax.Array:
  """Hides `count` i32[] patches of a grid -> bool [rows * columns], in its rows' order.

  Rectangles of log-uniform area and ratio, one over the other, until `count` is
  reached: the last is cut from one of its sides, and where all did not suffice patches
  are drawn one by one. (BEiT's code draws on until a rectangle fits.)
  """
  key_order, *keys = jax.random.split(key, TRIES + 1)
  u = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(jnp.stack(keys))
  largest = jnp.log(0.5 * rows * columns)
  area = jnp.exp(jnp.log(LEAST) + u[:, 0] * (largest - jnp.log(LEAST)))
  ratio = jnp.exp((2 * u[:, 1] - 1) * jnp.log(LONGEST))
  height = jnp.clip(jnp.round(jnp.sqrt(area * ratio)), 1, rows)
  width = jnp.clip(jnp.round(jnp.sqrt(area / ratio)), 1, columns)
  top = jnp.floor(u[:, 2] * (rows - height + 1))
  left = jnp.floor(u[:, 3] * (columns - width + 1))
  row, column = jnp.divmod(jnp.arange(rows * columns), columns)
  row, column = row[:, None].astype(jnp.float32), column[:, None].astype(jnp.float32)
  covers = (row >= top[None]) & (row < (top + height)[None])
  covers &= (column >= left[None]) & (column < (left + width)[None])
  first = jnp.where(covers.any(1), covers.argmax(1), TRIES)  # the rectangle it is in
  alone = jax.random.uniform(key_order, first.shape)
  along = jnp.stack([row, rows - 1 - row, column, columns - 1 - column], 1)[..., 0]
  side = (4 * u[:, 4]).astype(jnp.int32)[jnp.minimum(first, TRIES - 1)]
  along = jnp.take_along_axis(along, side[:, None], axis=1)[:, 0] + alone
  within = jnp.where(first < TRIES, along / (max(rows, columns) + 1), alone)
  order = first.astype(jnp.float32) + within
  return jnp.argsort(jnp.argsort(order)) < count
