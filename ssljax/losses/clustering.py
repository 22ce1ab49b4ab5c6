"""Losses that compare assignments to prototypes."""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp


def dino(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  centre: jax.Array,
  student_temperature: float,
  teacher_temperature: jax.Array | float,
) -> jax.Array:
  """Cross-entropy of student [B,V,K] with teacher [B,G,K], mean over pairs of crops.

  DINO (Caron et al. 2021), eq. 2 and algorithm 1. The first G of the student's crops
  are the teacher's; a crop is not compared with itself. `centre` [1,K] is taken from
  the teacher. The caller stops the teacher's gradient. The official value.
  """
  teacher = teacher_distribution(teacher_logits, centre, teacher_temperature)
  return _other_crops(student_logits, teacher, student_temperature)


def hidden_patches(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  mask: jax.Array,
  centre: jax.Array,
  student_temperature: float,
  teacher_temperature: jax.Array | float,
) -> jax.Array:
  """Cross-entropy of student with teacher [B,V,N,K] at the hidden patches -> [B] f32.

  iBOT (Zhou et al. 2022), eq. 2: of each picture the mean over its views of the mean
  over their patches in `mask` [B,V,N], True or 1 where the student did not see one; a
  view that hides none gives 0 and counts. `centre` [1,K] is taken from the teacher,
  whose gradient the caller stops. The mean over pictures is the official value.
  """
  b, v, n, k = student_logits.shape
  student, teacher = (x.reshape(b, v * n, k) for x in (student_logits, teacher_logits))
  teacher = teacher_distribution(teacher, centre, teacher_temperature)
  student = student.astype(jnp.float32) / student_temperature
  entropy = -(teacher * jax.nn.log_softmax(student)).sum(2).reshape(b, v, n)
  mask = mask.astype(jnp.float32)
  return ((entropy * mask).sum(2) / jnp.maximum(mask.sum(2), 1)).mean(1)


def swav(logits: jax.Array, assignment: jax.Array, temperature: float) -> jax.Array:
  """Cross-entropy of scores [B,V,K] with assignments [B,A,K], mean over pairs of crops.

  SwAV (Caron et al. 2020), eq. 1 and 2: each of the first A crops is assigned to
  prototypes, as by `sinkhorn`, and all others predict it. The caller stops the
  assignments' gradient. The official value.
  """
  return _other_crops(logits, assignment, temperature)


def sinkhorn(
  scores: jax.Array,
  epsilon: float,
  remembered: jax.Array | None = None,
  iterations: int = 3,
) -> jax.Array:
  """Assigns scores [B,A,K] softly, so that prototypes are used equally -> [B,A,K].

  The Sinkhorn-Knopp iteration of SwAV (Caron et al. 2020), eq. 3 to 5, for each of A
  crops alone: exp(scores / epsilon), scaled in turn so that every prototype gets as
  much and so that every example gives 1. It ends with the examples: their sums are
  exact, the prototypes' approximate. Scores of `remembered` examples [N,A,K] take
  part and are not returned. In logarithms, where the official code, with the same
  values, overflows; over devices it costs two all-reduces of [A,K] an iteration.
  """
  parts = [scores] if remembered is None else [scores, remembered]
  parts = [x.astype(jnp.float32) / epsilon for x in parts]
  for _ in range(iterations):
    totals = [logsumexp(x, axis=0, keepdims=True) for x in parts]
    total = logsumexp(jnp.concatenate(totals), axis=0, keepdims=True)
    parts = [jax.nn.log_softmax(x - total) for x in parts]
  return jnp.exp(parts[0])


def entropy(assignment: jax.Array) -> jax.Array:
  """Mean entropy of assignments [B,G,K], as a share of log K.

  0: every crop on one prototype, all on the same or each on its own. 1: all crops
  belong to all prototypes alike.
  """
  nats = jax.scipy.special.entr(assignment).sum(-1).mean()
  return nats / jnp.log(float(assignment.shape[-1]))


def information(assignment: jax.Array) -> jax.Array:
  """Measures what assignments [B,G,K] tell of their crop, as a share of log K.

  The mutual information of crop and prototype: the entropy of the mean assignment less
  the mean `entropy`. 0: one assignment for all crops, sharp or even, which is collapse.
  """
  together = assignment.mean((0, 1), keepdims=True)
  return entropy(together) - entropy(assignment)


def usage(assignment: jax.Array) -> jax.Array:
  """Share of the prototypes that some crop of [B,G,K] is assigned to before others."""
  k = assignment.shape[-1]
  first = assignment.argmax(-1)[..., None] == jnp.arange(k)[None, None]
  return first.any((0, 1)).astype(jnp.float32).mean()


def teacher_distribution(
  logits: jax.Array, centre: jax.Array, temperature: jax.Array | float
) -> jax.Array:
  """Centres and sharpens logits [B,G,K] -> probabilities [B,G,K] f32."""
  logits = logits.astype(jnp.float32) - centre[None]
  return jax.nn.softmax(logits / temperature, axis=-1)


def _other_crops(logits: jax.Array, target: jax.Array, temperature: float) -> jax.Array:
  """Mean cross-entropy of targets [B,G,K] with the logits [B,V,K] of other crops.

  Rows of `target` sum to 1; its crops are the first G of V.
  """
  logits = logits.astype(jnp.float32) / temperature
  # H(t, s) = logsumexp(s) - t.s, so that no [B,G,V,K] array is needed.
  products = jnp.einsum(
    "bgk,bvk->bgv", target, logits, precision=jax.lax.Precision.HIGHEST
  )
  entropy = logsumexp(logits, axis=2)[:, None] - products
  is_other_crop = ~jnp.eye(*entropy.shape[1:], dtype=bool)
  return entropy.mean(0).mean(where=is_other_crop)
