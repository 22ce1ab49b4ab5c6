"""A row's softmax over many columns, read without being kept.

As in `losses.tiled`: up to `pairwise.ONE_ARRAY` scores are one array, more are seen a
tile of columns at a time, and again for the gradient.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssljax.losses import pairwise, tiled
from ssljax.losses.pairwise import Columns, Rows, Tile


class Assigned(NamedTuple):
  """What is left of the softmax p [N,K] of each row; `mean` alone has a gradient."""

  mean: jax.Array  # [N,E]  sum_k p_nk values_k
  entropy: jax.Array  # [N]  in nats
  first: jax.Array  # i32 [N]  where p is largest
  share: jax.Array  # [K]  the mean of p over rows


def assign(
  rows: jax.Array,
  columns: jax.Array,
  scale: jax.Array | float,
  values: jax.Array,
  bias: jax.Array | None = None,
) -> Assigned:
  """Reads values [K,E] by the softmax of rows' scores with columns [K,D] -> Assigned.

  Gradients reach the values alone.
  """
  rows, columns, bias = jax.lax.stop_gradient((Rows(rows), columns, bias))
  columns, k = Columns(columns, bias=bias), len(columns)
  size = pairwise.columns_at_once(len(rows.x), k)
  if size >= k:
    scores, _ = pairwise.score(rows, columns, scale)
    p = jax.nn.softmax(scores, axis=1)
    entropy = jax.scipy.special.entr(p).sum(1)
    mean = pairwise.read(p, values)
    return Assigned(mean, entropy, scores.argmax(1), p.mean(0))
  denominator = tiled.denominators(rows.x, columns.x, scale, bias=bias)
  columns, values = pairwise.filled(columns, size), pairwise.padded(values, size)
  scale = jnp.asarray(scale, jnp.float32)
  out = _tiled(Tile(size), rows, columns, values, denominator, scale)
  return out._replace(share=out.share[:k])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tiled(tile, rows, columns, values, denominator, scale):
  return _forward(tile, rows, columns, values, denominator, scale)[0]


def _forward(tile, rows, columns, values, denominator, scale):
  def see(before, part):
    (columns, values, number), (mean, entropy, first, most) = part, before
    scores, p = _softmax(rows, columns, denominator, scale)
    entropy += jax.scipy.special.entr(p).sum(1)
    now = scores.max(1)
    first = jnp.where(now > most, number[scores.argmax(1)], first)
    mean += pairwise.read(p, values)
    return (mean, entropy, first, jnp.maximum(now, most)), p.mean(0)

  n, (k, width) = len(rows.x), values.shape
  start = jnp.zeros((n, width)), jnp.zeros(n), jnp.zeros(n, jnp.int32)
  carry, share = pairwise.fold(
    see, (*start, jnp.full(n, -jnp.inf)), (columns, values, jnp.arange(k)), tile
  )
  return Assigned(*carry[:3], share), (rows, columns, denominator, scale)


def _softmax(rows, columns, denominator, scale):
  scores, _ = pairwise.score(rows, columns, scale)
  return scores, jnp.exp(scores - denominator[:, None])


def _backward(tile, saved, grad):
  rows, columns, denominator, scale = saved

  def see(_, part):
    _, p = _softmax(rows, part, denominator, scale)
    return None, pairwise.read(p.T, grad.mean)

  _, by_values = pairwise.fold(see, None, columns, tile)
  return None, None, by_values, None, None


_tiled.defvjp(_forward, _backward)
