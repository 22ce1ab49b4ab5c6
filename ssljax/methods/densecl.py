"""DenseCL (Wang et al. 2021): MoCo v2, and the same of the cells of feature maps."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Encoded
from ssljax.fields.ranges import Share
from ssljax.losses import contrastive
from ssljax.methods.moco import MoCo


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseCL(MoCo):
  """DenseCL, section 3: a cell's key is the cell of most alike backbone features.

  `dense_weight` is the paper's lambda, that of the cells' loss, and 1 - lambda that of
  MoCo's. Cells have a queue of their own, of the means of the keys' cells.
  """

  dense_weight: Share
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "dense_projector")

  def init(self, rng, batch):
    """Initialises MoCo's state, and "dense_queue" [K,D] of random unit rows."""
    params, stats, target = super().init(rng, batch)
    cell = self.output_shapes(params, stats, batch)["dense_projection"]
    rng_queue = jax.random.fold_in(rng, 1)
    queue = memory.unit_rows(rng_queue, self.queue_size, cell.shape[-1])
    return params, stats, {**target, "dense_queue": queue}

  def encode(self, params, state, batch, rng):
    """Encodes queries and keys as MoCo, [B,2,D]; the loss of each picture's cells [B].

    Cells are compared here: they are no rows to keep.
    """
    query, key = ({"image": batch["image"][:, i]} for i in (0, 1))
    drawn = core.draws(rng, batch)
    online, stats = self.forward(params, state.batch_stats, query, drawn)
    slow, target_stats = self.key_outputs(state.target, key, rng)
    (backbone, cells), (key_backbone, key_cells) = map(_cells, (online, slow))
    matches = contrastive.most_alike(backbone, key_backbone)
    queue = state.target["dense_queue"]
    dense = contrastive.dense_info_nce(
      cells, key_cells, matches, queue, self.temperature
    )
    keys = contrastive.unit(slow["projection"])
    rows = {
      "features": online["features"][:, None],
      "projection": jnp.stack([online["projection"], keys], 1),
      "dense_loss": dense,
      "dense_key": contrastive.unit(key_cells.mean(1)),
    }
    return Encoded(rows, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 4 of queries [B,D] and of the losses [B] of cells."""
    loss, aux = super().objective(params, rows, state, batch, rng)
    dense = rows["dense_loss"].mean()
    metrics = {**aux.metrics, "whole_loss": loss, "dense_loss": dense}
    carry = {**aux.carry, "dense_keys": rows["dense_key"]}
    loss = (1 - self.dense_weight) * loss + self.dense_weight * dense
    return loss, aux.replace(metrics=metrics, carry=carry)

  def after_update(self, params, state, carry):
    """Moves the key encoder and queues the batch's keys, of pictures and of cells."""
    params, target = super().after_update(params, state, carry)
    pointer = state.target["pointer"]
    queue, _ = memory.enqueue(target["dense_queue"], pointer, carry["dense_keys"])
    return params, {**target, "dense_queue": queue}


def _cells(outputs):
  """Lists the cells of a backbone's map, or its patches, and of their projections."""
  backbone = outputs.get("map", outputs.get("patches"))
  arrays = backbone, outputs["dense_projection"]
  return tuple(x.reshape(len(x), -1, x.shape[-1]) for x in arrays)
