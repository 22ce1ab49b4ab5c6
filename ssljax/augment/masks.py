"""Which patches of a view are hidden from the network: drawn example by example."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import fields
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Share

LEAST = 4  # patches of a block
LONGEST = 1 / 0.3  # side of a block to the other
TRIES = 8  # blocks that are drawn; what they leave to hide are single patches


@dataclasses.dataclass(frozen=True)
class Blocks:
  """Hides rectangles of patches in some of the views (BEiT, Bao et al. 2022).

  A view hides patches with probability `mask_p` (0.5 in iBOT, Zhou et al. 2022), a
  share of them that is uniform from `mask_min` to `mask_max`, one patch at least.
  """

  patch_size: Count = 16  # the encoder's
  mask_p: Share = 0.0  # 0: no view hides any, and batches have no mask
  mask_min: Share = 0.1
  mask_max: Share = 0.5

  def __post_init__(self):
    """Raises ConfigError where no share of patches is between the two."""
    fields.check_instance("augment", self)
    if self.mask_min > self.mask_max:
      raise ConfigError(
        f"augment.mask_min={self.mask_min} must be at most mask_max={self.mask_max}; "
        "try 0.1 and 0.5"
      )

  def draw(self, keys: jax.Array, views: int, rows: int, columns: int) -> jax.Array:
    """Draws masks bool [B,views,rows * columns] by keys [B]; True: it is hidden."""

    def one(key):
      key_blocks, key_share = jax.random.split(key)
      hides, share = jax.random.uniform(key_share, (2,))
      share = self.mask_min + (self.mask_max - self.mask_min) * share
      count = jnp.maximum((share * (rows * columns)).astype(jnp.int32), 1)
      count = jnp.where(hides < self.mask_p, count, 0)
      return blocks(key_blocks, rows, columns, count)

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
