"""VICRegL (Bardes et al. 2022): VICReg, and the same of cells that match."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax.core import Aux, Encoded
from ssljax.fields.ranges import Count, Share
from ssljax.losses import redundancy
from ssljax.methods.vicreg import VICReg


@dataclasses.dataclass(frozen=True, kw_only=True)
class VICRegL(VICReg):
  """VICRegL, section 3. `global_weight` is the paper's alpha, and 1 - alpha the cells'.

  A cell of one view's map belongs to the one of the other view's that lies nearest in
  the picture, of which the `matches` nearest pairs count, and to the one of nearest
  embedding, all of which do. Either view is matched to the other.

  As in the official code the covariance terms of both views are averaged, also of whole
  pictures, where VICReg sums them; it counts the 20 nearest pairs and, as often, 4.
  """

  global_weight: Share
  matches: Count  # the paper's gamma
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "dense_projector")

  def encode(self, params, state, batch, rng):
    """Encodes both views -> projections [B,2,D], "cells" [B,2,N,E] and their places."""
    online, stats, _ = super().encode(params, state, batch, rng)
    cells = online["dense_projection"]
    grid = cells.shape[2:-1]
    rows = {
      "features": online["features"],
      "projection": online["projection"],
      "cells": cells.reshape(*cells.shape[:2], -1, cells.shape[-1]),
      "places": centres(batch["place"], *_sides(grid)),
    }
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 6: VICReg's loss of projections, and both of cells."""
    weights = self.invariance, self.variance, self.covariance
    halved = *weights[:2], self.covariance / 2
    whole = redundancy.vicreg(rows["projection"], *halved)
    cells, places = rows["cells"], rows["places"]
    count = min(self.matches, cells.shape[2])

    def local_loss(by, count):
      """Averages the loss over both ways to match."""
      losses = []
      for i, j in ((0, 1), (1, 0)):
        chosen, other = matched(by[:, i], by[:, j], count)
        pair = _taken(cells[:, i], chosen), _taken(cells[:, j], other)
        losses.append(redundancy.vicreg_of_cells(*pair, *weights))
      return sum(losses) / 2

    by_place = local_loss(places, count)
    by_likeness = local_loss(cells, cells.shape[2])
    metrics = {"global": whole, "by_place": by_place, "by_likeness": by_likeness}
    local = by_place + by_likeness
    loss = self.global_weight * whole + (1 - self.global_weight) * local
    return loss, Aux(metrics=metrics)


def centres(place: jax.Array, rows: int, columns: int) -> jax.Array:
  """Finds where the cells of views at `place` [...,5] lie in the picture -> [...,N,2].

  Row and column in shares of the picture; a mirrored view's columns run backwards.
  """
  parts = (x[..., None] for x in jnp.moveaxis(place, -1, 0))
  top, left, height, width, mirrored = parts
  row, column = jnp.divmod(jnp.arange(rows * columns), columns)
  down = (row.astype(jnp.float32) + 0.5) / rows
  across = (column.astype(jnp.float32) + 0.5) / columns
  shape = (1,) * (place.ndim - 1) + (-1,)
  down, across = down.reshape(shape), across.reshape(shape)
  across = mirrored * (1 - across) + (1 - mirrored) * across
  return jnp.stack([top + height * down, left + width * across], -1)


def matched(x: jax.Array, y: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """Matches each of x [B,N,D] with the nearest of y [B,M,D]: the `count` nearest pairs.

  -> i32 [B,count] of x, in order, and of y; no gradient.
  """
  x, y = jax.lax.stop_gradient((x, y))
  distance = jnp.square(x[:, :, None] - y[:, None]).sum(-1)
  nearest, best = distance.argmin(2), distance.min(2)
  chosen = jnp.sort(jnp.argsort(best, axis=1)[:, :count], axis=1)
  return chosen, jnp.take_along_axis(nearest, chosen, axis=1)


def _taken(cells, index):
  return jnp.take_along_axis(cells, index[..., None], axis=1)


def _sides(grid: tuple[int, ...]) -> tuple[int, int]:
  """Rows and columns of a map's cells, or of a square picture's patches."""
  return grid if len(grid) == 2 else (round(grid[0] ** 0.5),) * 2
