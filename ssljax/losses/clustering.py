"""Losses that compare assignments to prototypes.

Crops are rows [B,V,D], scored with K prototypes by `Prototypes`; an assignment is a
softmax over these, and no array of all of them is kept where it would be large.

B batch   V crops   G crops that are assigned, the first of V   K prototypes
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssljax.losses import assigned, tiled
from ssljax.losses.assigned import Assigned
from ssljax.losses.contrastive import unit
from ssljax.losses.pairwise import PRECISION

LEFT_OUT = -1e9  # a score whose exponential is 0, and finite where all are left out


class Prototypes(NamedTuple):
  """What scores a row x [D]: x . directions + bias, [K]."""

  directions: jax.Array  # [K,D]
  bias: jax.Array | None = None  # [K]

  def over(self, temperature: jax.Array | float, shift: jax.Array | None = None):
    """Returns (bias - shift) / temperature, [K], or None."""
    parts = [self.bias, None if shift is None else -shift]
    parts = [x / temperature for x in parts if x is not None]
    return sum(parts[1:], parts[0]) if parts else None


def dino(
  student: jax.Array,
  teacher: jax.Array,
  own: Prototypes,
  slow: Prototypes,
  centre: jax.Array,
  student_temperature: float,
  teacher_temperature: jax.Array | float,
) -> tuple[jax.Array, Assigned]:
  """Cross-entropy of student [B,V,D] with teacher [B,G,D], mean over pairs of crops.

  DINO (Caron et al. 2021), eq. 2 and algorithm 1. The first G of the student's crops
  are the teacher's; a crop is not compared with itself. `centre` [1,K] is taken from
  the teacher's scores with its `slow` prototypes, before they are sharpened. The
  official value, and the teacher's assignments, which have no gradient.
  """
  target = assign(teacher, slow, teacher_temperature, centre, own)
  return _other_crops(student, own, target.mean, student_temperature), target


def hidden_patches(
  student: jax.Array,
  teacher: jax.Array,
  own: Prototypes,
  slow: Prototypes,
  mask: jax.Array,
  centre: jax.Array,
  student_temperature: float,
  teacher_temperature: jax.Array | float,
) -> jax.Array:
  """Cross-entropy of student with teacher [B,V,N,D] at the hidden patches -> [B] f32.

  iBOT (Zhou et al. 2022), eq. 2: of each picture the mean over its views of the mean
  over their patches in `mask` [B,V,N], True or 1 where the student did not see one; a
  view that hides none gives 0 and counts. `centre` [1,K] is taken from the teacher's
  scores, which have no gradient. The mean over pictures is the official value.
  """
  b, v, n, dim = student.shape
  student, teacher = (x.reshape(b * v * n, 1, dim) for x in (student, teacher))
  target = assign(teacher, slow, teacher_temperature, centre, own)
  entropy = _cross_entropies(student, own, target.mean, student_temperature)
  entropy, mask = entropy.reshape(b, v, n), mask.astype(jnp.float32)
  return ((entropy * mask).sum(2) / jnp.maximum(mask.sum(2), 1)).mean(1)


def relation(
  student: jax.Array,
  teacher: jax.Array,
  queue: jax.Array,
  student_temperature: float,
  teacher_temperature: float,
) -> jax.Array:
  """Cross-entropy of student [B,D] with teacher [B,D], by their cosines with the queue.

  ReSSL (Zheng et al. 2021), eq. 3 to 6: a distribution over unit rows queue [K,D] each,
  the teacher's without gradient; the mean over the batch, and the official value.
  """
  student, teacher = unit(student)[:, None], unit(teacher)[:, None]
  others = Prototypes(jax.lax.stop_gradient(queue))
  no_shift = jnp.zeros((1, len(queue)))
  target = assign(teacher, others, teacher_temperature, no_shift, others)
  return _cross_entropies(student, others, target.mean, student_temperature).mean()


def swav(
  crops: jax.Array,
  prototypes: Prototypes,
  shift: jax.Array,
  epsilon: float,
  temperature: float,
) -> tuple[jax.Array, Assigned]:
  """Cross-entropy of crops [B,V,D] with assignments of the first G, mean over pairs.

  SwAV (Caron et al. 2020), eq. 1 and 2: each of the first G crops is assigned to
  prototypes by `sinkhorn`, whose `shift` is [G,K], and all others predict it. The
  official value, and the assignments, which have no gradient.
  """
  first = crops[:, : len(shift)]
  target = assign(first, prototypes, epsilon, shift, prototypes)
  return _other_crops(crops, prototypes, target.mean, temperature), target


def sinkhorn(
  crops: jax.Array,
  prototypes: Prototypes,
  epsilon: float,
  remembered: jax.Array | None = None,
  iterations: int = 3,
  counts: jax.Array | None = None,
) -> jax.Array:
  """Shifts scores of crops [B,G,D] so that prototypes are used equally -> [G,K] f32.

  The Sinkhorn-Knopp iteration of SwAV (Caron et al. 2020), eq. 3 to 5, for each of G
  crops alone: exp(scores / epsilon), scaled in turn so that every prototype gets as
  much and so that every example gives 1. It ends with the examples: an assignment is
  the softmax of (scores - shift) / epsilon, as of a centre that makes prototypes
  approximately equal. Crops of `remembered` examples [N,G,D] take part, and crops of
  which `counts` [B,G] says 0 do not. Of the scalings
  the logarithms are kept, [G,K] and [B,G], and scores made anew: where the official
  code, with the same values, overflows, these do not. No gradient.
  """

  def one(prototypes, left_out, *parts):
    directions, bias = prototypes.directions, prototypes.over(epsilon)
    gives = [left_out] + [None] * (len(parts) - 1)
    for _ in range(iterations):
      totals = map(functools.partial(log_sums, directions), parts, gives)
      gets = functools.reduce(jnp.logaddexp, totals)
      shift = epsilon * (gets if bias is None else gets + bias)
      open_to = prototypes.over(epsilon, shift)
      gives = [-log_sums(part, directions, open_to) for part in parts]
      if left_out is not None:
        gives[0] = jnp.where(left_out < 0, left_out, gives[0])
    return shift

  def log_sums(rows, columns, bias):
    return tiled.denominators(rows, columns, 1 / epsilon, bias=bias)

  parts = [crops] if remembered is None else [crops, remembered]
  prototypes, parts = jax.lax.stop_gradient((prototypes, parts))
  left_out = None if counts is None else jnp.where(counts > 0, 0.0, LEFT_OUT)
  in_axes = None, None if counts is None else 1, *[1] * len(parts)
  return jax.vmap(one, in_axes=in_axes)(prototypes, left_out, *parts)


class Siamese(NamedTuple):
  """The terms of masked siamese networks, f32[] each."""

  cross_entropy: jax.Array
  me_max: jax.Array  # log K less the entropy of the mean prediction
  entropy: jax.Array  # the mean entropy of a prediction


def msn(
  anchors: jax.Array,
  targets: jax.Array,
  prototypes: jax.Array,
  temperature: float,
  sharpening: jax.Array | float,
  iterations: int = 0,
) -> Siamese:
  """Compares anchors [B,V,D] with the target [B,D] of their picture -> its terms.

  MSN (Assran et al. 2022), eq. 1: predictions are softmax over the cosines with
  prototypes [K,D], those of targets to the power of 1 / `sharpening`, made anew by so
  many `iterations` of Sinkhorn and Knopp's, and without gradient. Official values.
  """
  directions = unit(prototypes)

  def score(rows, directions):
    products = jnp.matmul(unit(rows), directions.T, precision=PRECISION)
    return products / temperature

  target = score(*jax.lax.stop_gradient((targets, directions))) / sharpening
  target = jax.nn.log_softmax(target)
  for _ in range(iterations):
    target = jax.nn.log_softmax(jax.nn.log_softmax(target, axis=0), axis=1)
  log_p = jax.nn.log_softmax(score(anchors, directions))
  p = jnp.exp(log_p)
  cross_entropy = -(jnp.exp(target)[:, None] * log_p).sum(-1).mean()
  together = jax.scipy.special.entr(p.mean((0, 1))).sum()
  me_max = jnp.log(float(len(prototypes))) - together
  return Siamese(cross_entropy, me_max, -(p * log_p).sum(-1).mean())


def assign(
  crops: jax.Array,
  prototypes: Prototypes,
  temperature: jax.Array | float,
  shift: jax.Array,
  read: Prototypes,
) -> Assigned:
  """Assigns crops [B,G,D] by the softmax of (scores - shift) / temperature.

  `shift` is [G,K], or [1,K] of all crops. -> the mean of the prototypes `read`, with
  gradient, [B,G,D], or [B,G,D+1] where these have biases, whose mean comes last; the
  entropy and the first prototype [B,G]; and the share [K] of all that is assigned.
  """
  values = read.directions.astype(jnp.float32)
  if read.bias is not None:
    values = jnp.concatenate([values, read.bias[:, None]], 1)

  def one(rows, shift):
    bias = prototypes.over(temperature, shift)
    return assigned.assign(rows, prototypes.directions, 1 / temperature, values, bias)

  shift = jnp.broadcast_to(shift, (crops.shape[1], shift.shape[1]))
  axes = Assigned(mean=1, entropy=1, first=1, share=0)
  out = jax.vmap(one, in_axes=(1, 0), out_axes=axes)(crops, shift)
  return out._replace(share=out.share.mean(0))


def mean_scores(crops: jax.Array, prototypes: Prototypes) -> jax.Array:
  """Averages the scores of all crops [B,G,D] -> [1,K] f32, what a centre follows."""
  mean = crops.astype(jnp.float32).mean((0, 1))[None]
  directions = prototypes.directions.astype(jnp.float32)
  scores = jnp.matmul(mean, directions.T, precision=PRECISION)
  return scores if prototypes.bias is None else scores + prototypes.bias[None]


def entropy(assigned: Assigned) -> jax.Array:
  """Mean entropy of assignments, as a share of log K.

  0: every crop on one prototype, all on the same or each on its own. 1: all crops
  belong to all prototypes alike.
  """
  return assigned.entropy.mean() / jnp.log(float(len(assigned.share)))


def information(assigned: Assigned) -> jax.Array:
  """Measures what assignments tell of their crop, as a share of log K.

  The mutual information of crop and prototype: the entropy of the mean assignment less
  the mean `entropy`. 0: one assignment for all crops, sharp or even, which is collapse.
  """
  together = jax.scipy.special.entr(assigned.share).sum()
  return together / jnp.log(float(len(assigned.share))) - entropy(assigned)


def usage(assigned: Assigned) -> jax.Array:
  """Share of the prototypes that some crop is assigned to before others."""
  number = jnp.arange(len(assigned.share))
  used = assigned.first[..., None] == number[(None,) * assigned.first.ndim]
  return used.any(range(assigned.first.ndim)).astype(jnp.float32).mean()


def _cross_entropies(crops, prototypes, mean, temperature):
  """H(t, s) = logsumexp(s) - t . s of crops [B,V,D] and targets [B,G,D] -> [B,G,V]."""
  b, v, dim = crops.shape
  bias = prototypes.over(temperature)
  rows = crops.reshape(b * v, dim)
  total = tiled.denominators(rows, prototypes.directions, 1 / temperature, bias=bias)
  crops = crops.astype(jnp.float32)
  if bias is not None:
    crops = jnp.concatenate([crops, jnp.ones((b, v, 1))], 2)
  products = jnp.einsum("bgd,bvd->bgv", mean, crops, precision=PRECISION)
  return total.reshape(b, 1, v) - products / temperature


def _other_crops(crops, prototypes, mean, temperature):
  """Mean cross-entropy of targets [B,G,D] with other crops, the first G of [B,V,D]."""
  entropy = _cross_entropies(crops, prototypes, mean, temperature)
  is_other_crop = ~jnp.eye(*entropy.shape[1:], dtype=bool)
  return entropy.mean(0).mean(where=is_other_crop)
