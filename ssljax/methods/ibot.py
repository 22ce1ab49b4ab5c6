"""iBOT (Zhou et al. 2022): DINO, and the same of patches hidden from the student."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import NotNegative, Positive, Share
from ssljax.losses import clustering
from ssljax.schedules import NotNegativeSchedule, PositiveSchedule, ShareSchedule


@dataclasses.dataclass(frozen=True)
class IBOT(Method):
  """iBOT, algorithm 1 with multi-crop: the student's global views have hidden patches.

  The teacher, an average of students with decay `tau`, sees them whole: its class token
  is the target of all other crops, its patches those of the same patches hidden. Local
  crops hide nothing. A head of patches whose config is the name of the class token's is
  that one. While `patch_weight` is 0 nothing is hidden.
  """

  student_temperature: Positive
  teacher_temperature: PositiveSchedule
  patch_temperature: PositiveSchedule  # the teacher's, of patches
  centre_momentum: Share
  patch_centre_momentum: Share
  tau: ShareSchedule
  class_weight: NotNegative  # the official lambda1
  patch_weight: NotNegativeSchedule  # the official lambda2
  reads: ClassVar[tuple[str, ...]] = ("local", "mask")
  needs_heads: ClassVar[tuple[str, ...]] = (
    *("projector", "prototypes"),
    *("patch_projector", "patch_prototypes"),
  )

  def init(self, rng, batch):
    """Initialises params, batch_stats, target with both centres [1,K] of zeros."""
    params, stats, _ = super().init(rng, batch)
    outputs = self.output_shapes(params, stats, batch)
    centre, patch_centre = (
      jnp.zeros((1, outputs[name].shape[-1])) for name in ("logits", "patch_logits")
    )
    centres = {"centre": centre, "patch_centre": patch_centre}
    return params, stats, {**memory.slow(params, stats), **centres}

  def encode(self, params, state, batch, rng):
    """Encodes class tokens [B,2+L,K], by student and teacher; losses of patches [B].

    Patches are compared here: their logits, [B,2,N,K], are no rows to keep.
    """
    rng_global, rng_local = jax.random.split(rng)
    crops = {"image": batch["image"]}
    mask = batch["mask"] & (self.patch_weight(state.step) > 0)
    student, stats = self.forward_views(
      params, state.batch_stats, {**crops, "mask": mask}, core.draws(rng_global, batch)
    )
    logits = student["logits"]
    if "local" in batch:
      local, stats = self.forward_views(
        params, stats, {"image": batch["local"]}, core.draws(rng_local, batch)
      )
      logits = jnp.concatenate([logits, local["logits"]], 1)
    teacher, target_stats = self.target_views(state, crops)
    patch_loss = clustering.hidden_patches(
      student["patch_logits"],
      teacher["patch_logits"],
      mask,
      state.target["patch_centre"],
      self.student_temperature,
      self.patch_temperature(state.step),
    )
    rows = {
      "features": student["features"],
      "projection": student["projection"],
      "logits": logits,
      "teacher_logits": teacher["logits"],
      "patch_loss": patch_loss,
      "patch_mean": teacher["patch_logits"].mean((1, 2)),
      "hidden": mask.mean((1, 2), dtype=jnp.float32),
    }
    return Encoded(rows, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 2 of patches and eq. 3 of class tokens, weighted."""
    teacher_logits, centre = rows["teacher_logits"], state.target["centre"]
    temperature = self.teacher_temperature(state.step)
    class_loss = clustering.dino(
      rows["logits"], teacher_logits, centre, self.student_temperature, temperature
    )
    patch_loss = rows["patch_loss"].mean()
    assignment = clustering.teacher_distribution(teacher_logits, centre, temperature)
    metrics = {
      "tau": self.tau(state.step),
      "teacher_temperature": temperature,
      "patch_temperature": self.patch_temperature(state.step),
      "teacher_entropy": clustering.entropy(assignment),
      "teacher_information": clustering.information(assignment),
      "class_loss": class_loss,
      "patch_loss": patch_loss,
      "hidden": rows["hidden"].mean(),  # share of the patches
    }
    means = {
      "centre": teacher_logits.mean((0, 1))[None],
      "patch_centre": rows["patch_mean"].mean(0)[None],
    }
    weight = self.patch_weight(state.step)
    return self.class_weight * class_loss + weight * patch_loss, Aux(means, metrics)

  def after_update(self, params, state, carry):
    """Moves the teacher and both centres, by moving averages."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    target = memory.follow(state.target, params, stats, tau)
    momenta = {
      "centre": self.centre_momentum,
      "patch_centre": self.patch_centre_momentum,
    }
    moved = {
      name: memory.move_centre(target[name], carry[name], momentum)
      for name, momentum in momenta.items()
    }
    return params, {**target, **moved}

  def weights(self, state):
    """Returns the teacher's {"params", "batch_stats"}, which the paper evaluates."""
    return {k: state.target[k] for k in ("params", "batch_stats")}
