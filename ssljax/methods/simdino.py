"""SimDINO, SimDINOv2 (Wu et al. 2025): a coding rate in place of prototypes."""

import dataclasses
from typing import ClassVar

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.fields.ranges import NotNegative, Positive
from ssljax.losses import spread
from ssljax.methods.dino import encode_crops
from ssljax.methods.ibot import hide_crops
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class SimDINO(Method):
  """SimDINO, section 3: directions of crops meet the teacher's, and take many bits.

  `agreement` weighs the mean cosine of student and teacher. The rate is that of the
  student's global crops at `epsilon`, the paper's squared, times its gamma as in the
  official code, (D + B) / (D B). With `both_spread` it is of the mean of each with the
  teacher's, which smooths it.
  """

  agreement: NotNegative
  epsilon: Positive
  tau: ShareSchedule
  both_spread: bool = False  # the official `expa_type`
  reads: ClassVar[tuple[str, ...]] = ("local",)

  def init(self, rng, batch):
    """Initialises params, batch_stats, and target: a copy of both."""
    params, stats, _ = super().init(rng, batch)
    return params, stats, memory.slow(params, stats)

  def encode(self, params, state, batch, rng):
    """Encodes all crops by the student [B,2+L,D], global by the teacher [B,2,D]."""
    return encode_crops(self, params, state, batch, rng)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 8 over rows of student [B,2+L,D] and teacher [B,2,D]."""
    student, teacher = rows["student"], rows["teacher"]
    count, dim = len(student), student.shape[-1]
    cosine = spread.agreement(student, teacher)
    both = teacher if self.both_spread else None
    rate = spread.coding_rate(student[:, : teacher.shape[1]], self.epsilon, both)
    gamma = (dim + count) / (dim * count)
    metrics = {"tau": self.tau(state.step), "cosine": cosine, "coding_rate": rate}
    return -self.agreement * cosine - gamma * rate, Aux(metrics=metrics)

  def after_update(self, params, state, carry):
    """Moves the teacher towards the new weights."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    return params, memory.follow(state.target, params, stats, tau)

  def weights(self, state):
    """Returns the teacher's {"params", "batch_stats"}, which the paper evaluates."""
    return state.target


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimDINOv2(SimDINO):
  """SimDINOv2, section 3: SimDINO, and patches hidden from the student, as in iBOT.

  The student's projection of a hidden patch meets the teacher's of the same patch,
  seen: `patch_weight` weighs the mean cosine. No rate is of patches.
  """

  patch_weight: NotNegative
  reads: ClassVar[tuple[str, ...]] = ("local", "mask")
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "patch_projector")

  def encode(self, params, state, batch, rng):
    """Encodes class tokens [B,2+L,D], by student and teacher; cosines of patches [B].

    Patches are compared here: they are no rows to keep, [B,2,N,D].
    """
    mask = batch["mask"]
    student, teacher, encoded = hide_crops(self, params, state, batch, mask, rng)
    patches = student["patch_projection"], teacher["patch_projection"]
    cosine = spread.hidden_agreement(*patches, mask)
    return encoded._replace(rows={**encoded.rows, "patch_cosine": cosine})

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 8 over rows of crops, and the agreement of hidden patches."""
    loss, aux = super().objective(params, rows, state, batch, rng)
    cosine = rows["patch_cosine"].mean()
    hidden = {"patch_cosine": cosine, "hidden": rows["hidden"].mean()}
    metrics = {**aux.metrics, **hidden}
    return loss - self.patch_weight * cosine, Aux(metrics=metrics)
