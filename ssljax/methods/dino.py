"""DINO (Caron et al. 2021): self-distillation of a centred, sharpened teacher."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import clustering
from ssljax.ranges import Positive, Share
from ssljax.schedules import PositiveSchedule, ShareSchedule


@dataclasses.dataclass(frozen=True)
class DINO(Method):
  """Algorithm 1 with multi-crop: the teacher sees the global views, the student all.

  `tau` is the teacher's decay and `teacher_temperature` its softmax temperature at a
  step. Crops of one resolution pass the network together, as in the official code.
  The teacher starts as a copy of the student; with `fresh_heads` of its encoder alone.
  """

  student_temperature: Positive
  teacher_temperature: PositiveSchedule
  centre_momentum: Share
  tau: ShareSchedule
  fresh_heads: bool = False  # lightly's

  def init(self, rng, batch):
    """-> params, batch_stats, target with "centre" [1,K] of zeros."""
    params, stats, _ = super().init(rng, batch)
    logits = self.output_shapes(params, stats, batch["image"][:, 0])["logits"]
    centre = jnp.zeros((1, logits.shape[-1]))
    slow = params
    if self.fresh_heads:
      apart, _, _ = super().init(jax.random.fold_in(rng, 1), batch)
      slow = {**apart, "encoder": params["encoder"]}
    return params, stats, {"params": slow, "batch_stats": stats, "centre": centre}

  def loss_fn(self, params, state, batch, rng):
    """Eq. 3 over batch["image"] [B,2,H,W,C] and batch["local"] [B,L,h,w,C]."""
    rng_global, rng_local = jax.random.split(rng)
    wide, local = batch["image"], batch.get("local")
    student, stats = self.forward_views(params, state.batch_stats, wide, rng_global)
    logits = student["logits"]
    if local is not None:
      narrow, stats = self.forward_views(params, stats, local, rng_local)
      logits = jnp.concatenate([logits, narrow["logits"]], 1)
    slow = state.target
    teacher, kept = self.forward_views(slow["params"], slow["batch_stats"], wide)
    seen = jax.lax.stop_gradient(teacher["logits"])
    temperature = self.teacher_temperature(state.step)
    loss = clustering.dino(
      logits, seen, slow["centre"], self.student_temperature, temperature
    )
    assignment = clustering.teacher_distribution(seen, slow["centre"], temperature)
    entropy = clustering.entropy(assignment)
    metrics = {
      "tau": self.tau(state.step),
      "teacher_temperature": temperature,
      "teacher_entropy": entropy,
      "teacher_information": clustering.information(assignment),
      # Eq. 5: the loss is the teacher's entropy and this.
      "teacher_student_kl": loss - entropy * jnp.log(float(assignment.shape[-1])),
    }
    return loss, Aux(stats, (seen.mean((0, 1))[None], kept), student, metrics)

  def after_update(self, params, state, carry):
    """Teacher and centre (eq. 4) follow; both by moving averages."""
    batch_mean, kept = carry
    target = state.target
    return params, {
      "params": memory.ema(params, target["params"], self.tau(state.step)),
      "batch_stats": kept,
      "centre": memory.move_centre(target["centre"], batch_mean, self.centre_momentum),
    }

  def judged(self, state, image):
    """The teacher, which the paper evaluates."""
    teacher = {k: state.target[k] for k in ("params", "batch_stats")}
    return state.replace(**teacher), image
