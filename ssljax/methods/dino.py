"""DINO (Caron et al. 2021): self-distillation of a centred, sharpened teacher."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import Positive, Share
from ssljax.losses import clustering
from ssljax.nets.heads import l2_normalise
from ssljax.schedules import PositiveSchedule, ShareSchedule


@dataclasses.dataclass(frozen=True)
class DINO(Method):
  """DINO, algorithm 1 with multi-crop: the teacher sees global views, the student all.

  `tau` is the teacher's decay and `teacher_temperature` its softmax temperature at a
  step. Crops of one resolution pass the network together, as in the official code.
  The teacher starts as a copy of the student; with `fresh_heads` of its encoder alone.
  """

  student_temperature: Positive
  teacher_temperature: PositiveSchedule
  centre_momentum: Share
  tau: ShareSchedule
  fresh_heads: bool = False  # lightly's
  reads: ClassVar[tuple[str, ...]] = ("local",)
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "prototypes")

  def init(self, rng, batch):
    """Initialises params, batch_stats, and target with "centre" [1,K] of zeros."""
    params, stats, _ = super().init(rng, batch)
    logits = self.output_shapes(params, stats, batch)["logits"]
    centre = jnp.zeros((1, logits.shape[-1]))
    teacher_params = params
    if self.fresh_heads:
      fresh_params, _, _ = super().init(jax.random.fold_in(rng, 1), batch)
      teacher_params = {**fresh_params, "encoder": params["encoder"]}
    return params, stats, {**memory.slow(teacher_params, stats), "centre": centre}

  def encode(self, params, state, batch, rng):
    """Encodes all crops by the student [B,2+L,D], global by the teacher [B,2,D]."""
    return encode_crops(self, params, state, batch, rng)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 3 over rows of student [B,2+L,D] and teacher [B,2,D]."""
    temperatures = self.student_temperature, self.teacher_temperature(state.step)
    loss, assigned, mean = compare_crops(
      self.net.prototypes, params, state.target, rows, *temperatures
    )
    entropy = clustering.entropy(assigned)
    metrics = {
      "tau": self.tau(state.step),
      "teacher_temperature": temperatures[1],
      "teacher_entropy": entropy,
      "teacher_information": clustering.information(assigned),
      # Eq. 5: the loss is the teacher's entropy and this.
      "teacher_student_kl": loss - assigned.entropy.mean(),
    }
    return loss, Aux({"batch_mean": mean}, metrics)

  def after_update(self, params, state, carry):
    """Moves the teacher and the centre (eq. 4), both by moving averages."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    target = memory.follow(state.target, params, stats, tau)
    centre = memory.move_centre(
      target["centre"], carry["batch_mean"], self.centre_momentum
    )
    return params, {**target, "centre": centre}

  def weights(self, state):
    """Returns the teacher's {"params", "batch_stats"}, which the paper evaluates."""
    return {k: state.target[k] for k in ("params", "batch_stats")}


def encode_crops(method, params, state, batch, rng):
  """Encodes rows "student" [B,2+L,D] of all crops and "teacher" [B,2,D] of global ones.

  Crops of one resolution pass together; `method` has a slow copy in its target.
  """
  rng_global, rng_local = jax.random.split(rng)
  crops, net = {"image": batch["image"]}, headless(method.net)
  student, stats = method.forward_views(
    params, state.batch_stats, crops, core.draws(rng_global, batch), net=net
  )
  rows = student["projection"]
  if "local" in batch:
    crop, keys = {"image": batch["local"]}, core.draws(rng_local, batch)
    local, stats = method.forward_views(params, stats, crop, keys, net=net)
    rows = jnp.concatenate([rows, local["projection"]], 1)
  teacher, target_stats = method.target_views(state, crops, net)
  rows = {**student, "student": rows, "teacher": teacher["projection"]}
  return Encoded(rows, stats, target_stats)


def compare_crops(head, params, target, rows, student_temperature, teacher_temperature):
  """Compares crops of student [B,2+L,D] and teacher [B,2,D] by prototypes: eq. 3.

  -> loss f32[], `assigned.Assigned` of the teacher's, their mean scores [1,K].
  """
  student, teacher = (unit(head, rows[name]) for name in ("student", "teacher"))
  slow = prototypes(head, target["params"]["prototypes"])
  loss, assigned = clustering.dino(
    student,
    teacher,
    prototypes(head, params["prototypes"]),
    slow,
    target["centre"],
    student_temperature,
    teacher_temperature,
  )
  return loss, assigned, clustering.mean_scores(teacher, slow)


def headless(net):
  """Returns the network without its prototypes, which `objective` scores rows with."""
  return net.clone(prototypes=None, patch_prototypes=None)


def unit(head, projection):
  """Normalises what prototypes score, [...,D], in the type they score it in."""
  return l2_normalise(projection, axis=-1).astype(head.dtype)


def prototypes(head, params):
  """Reads prototypes off the parameters of their head, as it scores with them."""
  kernel = params["kernel"]
  if head.weight_norm:
    kernel = l2_normalise(kernel, axis=0)
  if head.gain:
    kernel = kernel * params["gain"]
  return clustering.Prototypes(kernel.T.astype(head.dtype), params.get("bias"))
