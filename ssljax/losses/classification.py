"""Losses on classes: labels, or another network's opinion of them."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
  """-log softmax at the label, logits [B,C], label i32 [B]: the mean over labelled.

  Examples with label -1 do not count; without any label the loss is 0.
  """
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
  at_label = jnp.take_along_axis(log_p, jnp.maximum(label, 0)[:, None], 1)[:, 0]
  return -_mean_of_labelled(at_label, label)


def accuracy(logits: jax.Array, label: jax.Array) -> jax.Array:
  """The share of labelled rows of logits [B,C] whose largest is at the label [B]."""
  return _mean_of_labelled((logits.argmax(1) == label).astype(jnp.float32), label)


def distillation(
  student_logits: jax.Array, teacher_logits: jax.Array, temperature: float
) -> jax.Array:
  """Cross-entropy of student [B,C] with teacher [B,C], times the temperature squared.

  Both are softened by the temperature. Hinton et al. 2015, section 2; SimCLR v2 (Chen
  et al. 2020b), eq. 2, where the square is the official code's: gradients keep their
  size. Averaged over the batch. The caller stops the teacher's gradient.
  """
  p = jax.nn.softmax(teacher_logits.astype(jnp.float32) / temperature)
  log_q = jax.nn.log_softmax(student_logits.astype(jnp.float32) / temperature)
  return -(temperature**2) * (p * log_q).sum(1).mean()


def _mean_of_labelled(values: jax.Array, label: jax.Array) -> jax.Array:
  is_labelled = (label >= 0).astype(jnp.float32)
  return (values * is_labelled).sum() / jnp.maximum(is_labelled.sum(), 1.0)
