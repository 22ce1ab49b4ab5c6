"""SimDINO (Wu et al. 2025): DINO without prototypes; a coding rate keeps it apart."""

import dataclasses
from typing import ClassVar

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.fields.ranges import NotNegative, Positive
from ssljax.losses import spread
from ssljax.methods.dino import encode_crops
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class SimDINO(Method):
  """SimDINO, section 3: directions of crops meet the teacher's, and take many bits.

  `agreement` weighs the mean cosine of student and teacher. The rate is that of the
  student's global crops at `epsilon`, the paper's squared, times its gamma as in the
  official code, (D + B) / (D B).
  """

  agreement: NotNegative
  epsilon: Positive
  tau: ShareSchedule
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
    rate = spread.coding_rate(student[:, : teacher.shape[1]], self.epsilon)
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
