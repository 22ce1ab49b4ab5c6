"""iBOT (Zhou et al. 2022): DINO, and the same of patches hidden from the student."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import NotNegative, Positive, Share
from ssljax.losses import clustering
from ssljax.methods.dino import compare_crops, headless, prototypes, unit
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

  def crops(self, params, state, batch, rng):
    """Passes global crops through student and teacher, local ones through the first.

    -> outputs [B,2,...] of either, what the student did not see bool [B,2,N]; and as
    `Encoded` the class tokens [B,2+L,D], [B,2,D], and new statistics.
    """
    mask = batch["mask"] & (self.patch_weight(state.step) > 0)
    student, teacher, encoded = hide_crops(self, params, state, batch, mask, rng)
    return student, teacher, mask, encoded

  def encode(self, params, state, batch, rng):
    """Encodes class tokens [B,2+L,D], by student and teacher; losses of patches [B].

    Patches are compared here: they are no rows to keep, [B,2,N,D].
    """
    student, teacher, mask, encoded = self.crops(params, state, batch, rng)
    patches, slow_patches = self.patches(student), self.patches(teacher)
    centre = state.target["patch_centre"]
    patch_rows = {
      "patch_loss": self.hidden(params, state, patches, slow_patches, mask, centre),
      "patch_mean": slow_patches.astype(jnp.float32).mean((1, 2)),
    }
    return encoded._replace(rows={**encoded.rows, **patch_rows})

  def patches(self, outputs):
    """Normalises the projected patches [B,2,N,D] of a network's outputs."""
    return unit(self.patch_head[0], outputs["patch_projection"])

  def hidden(self, params, state, patches, slow_patches, mask, shift):
    """Computes eq. 2 over patches [B,2,N,D] by student and teacher -> [B]."""
    return clustering.hidden_patches(
      patches,
      slow_patches,
      self.patch_prototypes(params),
      self.patch_prototypes(state.target["params"]),
      mask,
      shift,
      self.student_temperature,
      self.patch_temperature(state.step),
    )

  def patch_prototypes(self, params):
    """Reads the patches' prototypes off the parameters of a network."""
    head, name = self.patch_head
    return prototypes(head, params[name])

  @property
  def patch_head(self):
    """The patches' prototypes, and under which name they have their parameters."""
    head = self.net.patch_prototypes
    name = head if isinstance(head, str) else "patch_prototypes"
    return getattr(self.net, name), name

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 2 of patches and eq. 3 of class tokens, weighted."""
    temperatures = self.student_temperature, self.teacher_temperature(state.step)
    class_loss, assigned, mean = compare_crops(
      self.net.prototypes, params, state.target, rows, *temperatures
    )
    patch_loss = rows["patch_loss"].mean()
    metrics = {
      "tau": self.tau(state.step),
      "teacher_temperature": temperatures[1],
      "patch_temperature": self.patch_temperature(state.step),
      "teacher_entropy": clustering.entropy(assigned),
      "teacher_information": clustering.information(assigned),
      "class_loss": class_loss,
      "patch_loss": patch_loss,
      "hidden": rows["hidden"].mean(),  # share of the patches
    }
    slow_patches = self.patch_prototypes(state.target["params"])
    patch_mean = rows["patch_mean"][:, None]
    means = {
      "centre": mean,
      "patch_centre": clustering.mean_scores(patch_mean, slow_patches),
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
      if name in carry
    }
    return params, {**target, **moved}

  def weights(self, state):
    """Returns the teacher's {"params", "batch_stats"}, which the paper evaluates."""
    return {k: state.target[k] for k in ("params", "batch_stats")}


def hide_crops(method, params, state, batch, mask, rng):
  """Passes global crops, of which the student does not see `mask` bool [B,2,N].

  Local ones pass the student alone; `method` has a slow copy in its target.
  -> outputs [B,2,...] of student and teacher; and as `Encoded` class tokens
  [B,2+L,D], [B,2,D], the share that is hidden [B], and new statistics.
  """
  rng_global, rng_local = jax.random.split(rng)
  crops, net = {"image": batch["image"]}, headless(method.net)
  student, stats = method.forward_views(
    params,
    state.batch_stats,
    {**crops, "mask": mask},
    core.draws(rng_global, batch),
    net=net,
  )
  rows = student["projection"]
  if "local" in batch:
    crop, keys = {"image": batch["local"]}, core.draws(rng_local, batch)
    local, stats = method.forward_views(params, stats, crop, keys, net=net)
    rows = jnp.concatenate([rows, local["projection"]], 1)
  teacher, target_stats = method.target_views(state, crops, net)
  rows = {
    "features": student["features"],
    "projection": student["projection"],
    "student": rows,
    "teacher": teacher["projection"],
    "hidden": mask.mean((1, 2), dtype=jnp.float32),
  }
  return student, teacher, Encoded(rows, stats, target_stats)
