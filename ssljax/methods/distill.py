"""Distillation (SimCLR v2, Chen et al. 2020b): a teacher's classes, no labels."""

import dataclasses

import jax

from ssljax import nets
from ssljax.core import Aux
from ssljax.fields.ranges import Positive
from ssljax.losses import classification
from ssljax.methods.supervised import Supervised


@dataclasses.dataclass(frozen=True)
class Distill(Supervised):
  """SimCLR v2, section 2, eq. 2: a student learns a teacher's classes, and no label.

  `teacher` is a network of its own, larger than the student or of the same form
  (self-distillation). Its weights come from `pretrained.checkpoint` with
  `pretrained.into = "teacher"`, are kept in `target` and never move; it is applied
  with its running statistics.
  """

  teacher: nets.Network
  temperature: Positive

  def init(self, rng, batch):
    """Initialises params, batch_stats, target "teacher": {"params", "batch_stats"}."""
    rng_student, rng_teacher = jax.random.split(rng)
    params, stats, _ = super().init(rng_student, batch)
    x = self.see(batch["image"][:, 0])
    teacher = self.teacher.init(rng_teacher, x, train=False)
    return params, stats, {"teacher": {"batch_stats": {}, **teacher}}

  def encode(self, params, state, batch, rng):
    """Encodes view 0 by the student, and by the teacher, which carries no gradient."""
    encoded, x = (
      super().encode(params, state, batch, rng),
      self.see(batch["image"][:, 0]),
    )
    teacher = self.teacher.apply(state.target["teacher"], x, train=False)
    teacher_logits = jax.lax.stop_gradient(teacher["logits"])
    return encoded._replace(rows={**encoded.rows, "teacher_logits": teacher_logits})

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 2 over the logits [B,C] of both; logs how often they agree."""
    logits, teacher_logits = rows["logits"], rows["teacher_logits"]
    loss = classification.distillation(logits, teacher_logits, self.temperature)
    agreement = classification.accuracy(logits, teacher_logits.argmax(1))
    return loss, Aux(metrics={"agreement": agreement})
