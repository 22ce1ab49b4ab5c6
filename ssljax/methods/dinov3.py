"""DINOv3 (Siméoni et al. 2025): DINOv2, its patches anchored to an earlier teacher."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux
from ssljax.fields.ranges import Count, Number
from ssljax.losses import predictive
from ssljax.methods.dinov2 import DINOv2
from ssljax.nets import positions
from ssljax.schedules import NotNegativeSchedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class DINOv3(DINOv2):
  """DINOv3, section 4: DINOv2's losses and, of patches, Gram anchoring.

  The Gram teacher is an encoder of its own, as the teacher's was some steps ago: at
  every `gram_every`-th step from `gram_first` on, `gram_updates` times (0: always), it
  becomes what the teacher is; it begins as the network does. It sees the global crops
  larger and undistorted, and its map of patches is resized to the student's, which has
  seen its own but for what is hidden. What is still to come with `gram_first` weighs
  nothing until it is there; with 0 it is what the network began as that anchors.
  """

  gram_weight: NotNegativeSchedule
  gram_every: Count  # steps
  gram_first: Number = 0  # steps before it
  gram_updates: Number = 0
  reads: ClassVar[tuple[str, ...]] = ("local", "mask", "larger")

  def init(self, rng, batch):
    """Initialises params, batch_stats, target with "gram": a copy of the encoder."""
    params, stats, target = super().init(rng, batch)
    return params, stats, {**target, "gram": encoder_of(target)}

  def crops(self, params, state, batch, rng):
    """Passes crops as iBOT, the larger through the Gram teacher; adds "gram" [B]."""
    student, teacher, mask, encoded = super().crops(params, state, batch, rng)
    gram = self.gram(student["patches"], state.target["gram"], batch["larger"])
    rows = {**encoded.rows, "gram": gram}
    return student, teacher, mask, encoded._replace(rows=rows)

  def gram(self, patches, target, larger):
    """Compares the student's patches [B,2,N,D] with crops' [B,2,S,S,C] -> [B]."""
    weights = (target[k].get("encoder", {}) for k in ("params", "batch_stats"))
    views = {"image": larger}
    outputs, _ = self.forward_views(*weights, views, net=self.net.encoder)
    anchor = jax.lax.stop_gradient(outputs["patches"])
    return predictive.gram(patches, resized(anchor, patches.shape[2]))

  def objective(self, params, rows, state, batch, rng):
    """Computes DINOv2's loss and the distance of Gram matrices, weighted."""
    loss, aux = super().objective(params, rows, state, batch, rng)
    gram, weight = rows["gram"].mean(), self.weight(state.step)
    metrics = {**aux.metrics, "gram": gram, "gram_weight": weight}
    return loss + weight * gram, Aux(aux.carry, metrics)

  def after_update(self, params, state, carry):
    """Moves the teacher and centres; where it is time, the Gram teacher becomes it."""
    params, target = super().after_update(params, state, carry)
    due = self.due(state.step + 1)
    gram = memory.refresh(target["gram"], encoder_of(target), due)
    return params, {**target, "gram": gram}

  def weight(self, done):
    """Weighs Gram matrices in the step after i32[] `done` steps -> f32[]."""
    is_there = not self.gram_first or self.renewals(done) > 0
    return jnp.where(is_there, self.gram_weight(done), 0.0)

  def renewals(self, done):
    """Counts renewals in i32[] `done` steps, as if there were no last -> i32[]."""
    before = max(-(-self.gram_first // self.gram_every) - 1, 0)  # multiples too early
    return done // self.gram_every - before

  def due(self, done):
    """Says whether the Gram teacher is renewed after i32[] `done` steps -> bool[]."""
    number = self.renewals(done)  # of this one, from 1 on
    due = (done % self.gram_every == 0) & (number > 0)
    return due & (number <= self.gram_updates) if self.gram_updates else due


def encoder_of(target):
  """Leaves of a slow copy the encoder alone, by the same names."""
  kinds = "params", "batch_stats"
  return {k: {n: x for n, x in target[k].items() if n == "encoder"} for k in kinds}


def resized(patches, count):
  """Resizes a square map of patches [B,V,M,D], bicubic as PyTorch -> [B,V,count,D]."""
  old, new = (round(n**0.5) for n in (patches.shape[2], count))
  grid = patches.reshape(-1, old, old, patches.shape[-1])
  resize = jax.vmap(lambda x: positions.resize_positions(x, new, new, "bicubic"))
  return resize(grid).reshape(*patches.shape[:2], count, -1)
