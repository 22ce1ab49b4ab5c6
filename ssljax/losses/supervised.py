"""Contrastive losses whose positives share a label."""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp, softplus

from ssljax.losses.contrastive import PRECISION, unit


def same_label(label: jax.Array, other: jax.Array) -> jax.Array:
  """Compares labels i32 [N] and [M] -> bool [N,M]; -1 (unknown) equals nothing."""
  return (label[:, None] == other[None]) & (label[:, None] >= 0)


def sup_con(
  z: jax.Array,
  positive: jax.Array,
  temperature: float,
  base_temperature: float,
  contrast_mode: str = "all",
) -> jax.Array:
  """SupCon, z [B,V,D]: the mean over anchors of their positives' mean cross-entropy.

  L_out of Khosla et al. (2020), eq. 2, times temperature / base_temperature: the
  official value. `positive` bool [B,B] makes every view in column j a positive of the
  views in row i, save of itself; all other views are in the denominator. Anchors are
  all views, or the first alone with `contrast_mode` "one". An anchor without positives
  adds 0 and counts in the mean. Where pictures are their own only positives this is
  `contrastive.nt_xent`, times that factor.
  """
  batch, views, dim = z.shape
  z = unit(z)
  anchors = {"all": views, "one": 1}[contrast_mode]
  rows = z.reshape(batch * views, dim)
  logits = jnp.einsum("iad,jd->iaj", z[:, :anchors], rows, precision=PRECISION)
  logits /= temperature
  itself = jnp.eye(batch * views, dtype=bool).reshape(batch, views, batch * views)
  is_other = ~itself[:, :anchors]
  positive = jnp.repeat(positive, views, axis=1)[:, None] & is_other
  count = positive.sum(-1).astype(jnp.float32)
  chosen = logits.sum(-1, where=positive) / jnp.maximum(count, 1.0)
  losses = logsumexp(logits, axis=-1, where=is_other) - chosen
  loss = jnp.where(count > 0, losses, 0.0).mean()
  return temperature / base_temperature * loss


def sup_con_queue(
  query: jax.Array,
  key: jax.Array,
  queue: jax.Array,
  positive: jax.Array,
  temperature: float,
  base_temperature: float,
) -> jax.Array:
  """SupCon of query [B,D] against its key [B,D] and unit rows queue [K,D].

  The key and the rows that `positive` bool [B,K] marks are the positives; with none
  marked this is `contrastive.info_nce`, times temperature / base_temperature.
  """
  query, key = unit(query), unit(key)
  key_score = (query * key).sum(1, keepdims=True) / temperature
  queue_scores = jnp.matmul(query, queue.T, precision=PRECISION) / temperature
  # The own key's cross-entropy, and how much more that of the other positives is.
  first = softplus(logsumexp(queue_scores, axis=1, keepdims=True) - key_score)
  count = 1 + positive.sum(1).astype(jnp.float32)
  more = (key_score - queue_scores).sum(1, where=positive) / count
  return temperature / base_temperature * (first.mean() + more.mean())
