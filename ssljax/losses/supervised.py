"""Contrastive losses whose positives share a label; -1 is unknown and equals none."""

import jax
import jax.numpy as jnp
from jax.nn import softplus

from ssljax.losses import pairwise, tiled
from ssljax.losses.contrastive import unit


def groups(label: jax.Array) -> jax.Array:
  """Numbers examples i32 [B] by their labels [B]; one of -1 is a group of its own."""
  return jnp.where(label >= 0, label, -1 - jnp.arange(len(label)))


def sup_con(
  z: jax.Array,
  label: jax.Array,
  temperature: float,
  base_temperature: float,
  contrast_mode: str = "all",
) -> jax.Array:
  """SupCon, z [B,V,D]: the mean over anchors of their positives' mean cross-entropy.

  L_out of Khosla et al. (2020), eq. 2, times temperature / base_temperature: the
  official value. All views of pictures with an anchor's label, i32 [B], are its
  positives, save of itself; where the label is -1 its own picture's views are. All
  other views are in the denominator. Anchors are all views, or the first alone with
  `contrast_mode` "one". An anchor without positives adds 0 and counts in the mean.
  Where pictures are their own only positives this is `contrastive.nt_xent`, times that
  factor.
  """
  batch, views, dim = z.shape
  z, itself = unit(z), pairwise.numbers(batch * views)
  rows, label = z.reshape(batch * views, dim), jnp.repeat(groups(label), views)
  labels = label[:, None], label
  if contrast_mode == "all":
    seen = tiled.compare_among(rows, 1 / temperature, itself, labels)
  else:
    first = slice(None, None, {"one": views}[contrast_mode])
    ids, labels = ((x[first], y) for x, y in (itself, labels))
    seen = tiled.compare(z[:, 0], rows, 1 / temperature, ids, labels)
  losses = seen.denominator - seen.positive / jnp.maximum(seen.count, 1.0)
  loss = jnp.where(seen.count > 0, losses, 0.0).mean()
  return temperature / base_temperature * loss


def sup_con_queue(
  query: jax.Array,
  key: jax.Array,
  queue: jax.Array,
  label: jax.Array,
  queue_label: jax.Array,
  temperature: float,
  base_temperature: float,
) -> tuple[jax.Array, jax.Array]:
  """SupCon of query [B,D] against its key [B,D] and unit rows queue [K,D].

  The key and the rows of the query's label are the positives, by `label` i32 [B] and
  `queue_label` i32 [K]; where there are none this is `contrastive.info_nce`, times
  temperature / base_temperature. Returns the loss and the positives a query found in
  the queue, f32 [B].
  """
  query, key = unit(query), unit(key)
  own = (query * key).sum(1) / temperature
  label = jnp.where(label >= 0, label, -2)  # the queue's unknown is -1
  past = tiled.compare(
    query, queue, 1 / temperature, labels=(label[:, None], queue_label)
  )
  # The own key's cross-entropy, and how much more that of the other positives is.
  first = softplus(past.denominator - own)
  more = (past.count * own - past.positive) / (1 + past.count)
  loss = temperature / base_temperature * (first.mean() + more.mean())
  return loss, past.count
