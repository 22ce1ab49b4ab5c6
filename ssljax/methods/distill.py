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
    teacher = self.teacher.init(rng_teacher, batch["image"][:, 0], train=False)
    return params, stats, {"teacher": {"batch_stats": {}, **teacher}}

  def loss_fn(self, params, state, batch, rng):
    """Eq. 2 on view 0; how often the two agree is logged."""
    image = batch["image"][:, 0]
    out, stats = self.forward(params, state.batch_stats, image, rng)
    seen = self.teacher.apply(state.target["teacher"], image, train=False)["logits"]
    logits, seen = out["logits"], jax.lax.stop_gradient(seen)
    loss = classification.distillation(logits, seen, self.temperature)
    metrics = {"agreement": classification.accuracy(logits, seen.argmax(1))}
    features = out["features"][:, None]
    return loss, Aux(stats, (), {"features": features, "projection": features}, metrics)
