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
  student = student_logits.astype(jnp.float32) / student_temperature
  teacher = teacher_distribution(teacher_logits, centre, teacher_temperature)
  # H(t, s) = logsumexp(s) - t.s, so that no [B,G,V,K] array is needed.
  products = jnp.einsum(
    "bgk,bvk->bgv", teacher, student, precision=jax.lax.Precision.HIGHEST
  )
  entropy = logsumexp(student, axis=2)[:, None] - products
  other = ~jnp.eye(*entropy.shape[1:], dtype=bool)
  return entropy.mean(0).mean(where=other)


def entropy(
  teacher_logits: jax.Array, centre: jax.Array, temperature: jax.Array | float
) -> jax.Array:
  """Mean entropy of the teacher's assignments [B,G,K], as a share of log K.

  0: every crop on one prototype. 1: the same for all. Either end can be collapse.
  """
  p = teacher_distribution(teacher_logits, centre, temperature)
  return jax.scipy.special.entr(p).sum(-1).mean() / jnp.log(float(p.shape[-1]))


def teacher_distribution(
  logits: jax.Array, centre: jax.Array, temperature: jax.Array | float
) -> jax.Array:
  """Logits [B,G,K], centred and sharpened -> probabilities [B,G,K] f32."""
  logits = logits.astype(jnp.float32) - centre[None]
  return jax.nn.softmax(logits / temperature, axis=-1)
