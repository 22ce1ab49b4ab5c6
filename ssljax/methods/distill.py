"""Distillation (SimCLR v2, Chen et al. 2020b): a teacher's classes, no labels."""

import dataclasses

import jax

from ssljax import nets
from ssljax.core import Aux
from ssljax.losses import classification
from ssljax.methods.supervised import Supervised
from ssljax.ranges import Positive


@dataclasses.dataclass(frozen=True)
class Distill(Supervised):
  """Section 2, eq. 2: the student sees every picture, and no label.

  `teacher` is a network of its own, larger than the student or of the same form
  (self-distillation). Its weights come from `pretrained.checkpoint` with
  `pretrained.into = "teacher"`, are kept in `target` and never move; it is applied
  with its running statistics.
  """

  teacher: nets.Network
  temperature: Positive

  def init(self, rng, batch):
    """-> params, batch_stats, target {"teacher": {"params", "batch_stats"}}."""
    rng_student, rng_teacher = jax.random.split(rng)
    params, stats, _ = super().init(rng_student, batch)
    x = self.see(batch["image"][:, 0])
    teacher = self.teacher.init(rng_teacher, x, train=False)
    return params, stats, {"teacher": {"batch_stats": {}, **teacher}}

  def encode(self, params, state, batch, rng):
    """The student's outputs of view 0, and the teacher's logits of it."""
    encoded, x = (
      super().encode(params, state, batch, rng),
      self.see(batch["image"][:, 0]),
    )
    teacher = self.teacher.apply(state.target["teacher"], x, train=False)
    teacher_logits = jax.lax.stop_gradient(teacher["logits"])
    return encoded._replace(rows={**encoded.rows, "teacher_logits": teacher_logits})

  def objective(self, params, rows, state, batch, rng):
    """Eq. 2 over the logits of both [B,C]; how often they agree is logged."""
    logits, teacher_logits = rows["logits"], rows["teacher_logits"]
    loss = classification.distillation(logits, teacher_logits, self.temperature)
    agreement = classification.accuracy(logits, teacher_logits.argmax(1))
    return loss, Aux(metrics={"agreement": agreement})
