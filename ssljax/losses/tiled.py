"""What is left of each row's scores once all columns have been seen.

A loss needs a few sums of the scores of N rows with M columns (`losses.pairwise`). Up
to `pairwise.ONE_ARRAY` scores are one array, as in the equations. More are made tile by
tile, and again for the gradient: memory is linear in N and M, value and gradient are
the same to rounding, and on CPUs come sooner. Shapes alone decide, so that a config
means one program.

  rows [N,D]   columns [M,D]   scale f32[] or a number   ids, labels i32 [N,1] and [M]
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import logsumexp, sigmoid, softplus

from ssljax.losses import pairwise
from ssljax.losses.pairwise import Columns, Rows, Tile

Pair = tuple[jax.Array | None, jax.Array | None]  # i32 [N,1] of rows, [M] of columns


class Compared(NamedTuple):
  """What is left of each row's scores, f32 [N]."""

  denominator: jax.Array  # log sum_j exp(score_ij)
  positive: jax.Array | None  # the sum of the scores with columns of the row's label
  count: jax.Array | None  # of these columns
  most: jax.Array  # the largest score, without gradient


def compare(
  rows: jax.Array,
  columns: jax.Array,
  scale: jax.Array | float,
  ids: Pair = (None, None),
  labels: Pair = (None, None),
  bias: jax.Array | None = None,
  dealt: bool = False,
) -> Compared:
  """Compares rows [N,D] with columns [M,D], save for pairs of equal ids -> Compared.

  Ids leave out an anchor itself, or all views of its picture; a bias [M] of minus
  infinity a column, such as a bank's padding. Columns that lie split over devices are
  gathered at once or, `dealt`, so that none holds them all: a tile has some of each.
  """
  given = Rows(rows, ids[0], labels[0]), Columns(columns, ids[1], labels[1], bias)
  return _compare("rows", *given, scale, dealt=dealt)[0]


def denominators(
  rows: jax.Array,
  columns: jax.Array,
  scale: jax.Array | float,
  ids: Pair = (None, None),
  bias: jax.Array | None = None,
) -> jax.Array:
  """Sums exponentials, as `compare` does: log sum_j exp(score_ij) [N]."""
  return compare(rows, columns, scale, ids, bias=bias).denominator


def compare_among(
  rows: jax.Array,
  scale: jax.Array | float,
  ids: Pair,
  labels: Pair = (None, None),
) -> Compared:
  """Compares rows [N,D] with each other, save for those of equal ids -> Compared.

  As `compare` of rows with themselves, in a product less: a score is that of both its
  rows, and their gradients need no sums over other devices.
  """
  n = len(rows)
  size = pairwise.columns_at_once(n, n)
  columns = pairwise.filled(Columns(rows, ids[1], labels[1]), size)
  anchors = pairwise.padded(Rows(rows, ids[0], labels[0]), size)
  compared, _ = _compare("among", anchors, columns, scale, size)
  return jax.tree.map(lambda x: x[:n], compared)


def compare_both_ways(
  rows: jax.Array, columns: jax.Array, scale: jax.Array | float, labels: Pair
) -> tuple[Compared, jax.Array]:
  """Compares rows [N,D] with columns [M,D] -> Compared, log sum_i exp(score_ij) [M].

  Each score serves the denominators of its row and of its column.
  """
  given = Rows(rows, None, labels[0]), Columns(columns, None, labels[1])
  return _compare("both", *given, scale)


def answers(
  rows: jax.Array,
  columns: jax.Array,
  scale: jax.Array | float,
  bias: jax.Array,
  labels: Pair,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Answers for every pair whether labels are equal -> cost, positive, most, f32 [N].

  `cost` sums the binary cross-entropy of sigmoid(score_ij), `bias` f32[], over columns;
  the others are as in Compared.
  """
  m, size = len(columns), pairwise.columns_at_once(len(rows), len(columns))
  rows = Rows(rows, None, labels[0])
  columns = Columns(columns, None, labels[1], jnp.broadcast_to(bias, m))
  if size >= m:
    return _cost(*pairwise.score(rows, columns, scale))
  columns = pairwise.filled(columns, size)
  return _answers(Tile(size), rows, columns, jnp.asarray(scale, jnp.float32))


def _compare(mode, rows, columns, scale, size=None, dealt=False):
  """-> Compared, and in mode "both" the denominators of columns [M], else None."""
  m = len(columns.x)
  size = size or pairwise.columns_at_once(len(rows.x), m)
  if size >= m:
    scores, same = pairwise.score(rows, columns, scale)
    return _summary(scores, same), logsumexp(scores, axis=0) if mode == "both" else None
  columns, tile = pairwise.filled(columns, size), Tile(size, dealt)
  scale = jnp.asarray(scale, jnp.float32)
  compared, of_columns = _tiled(mode, tile, rows, columns, scale)
  return compared, of_columns[:m] if mode == "both" else None


def _summary(scores: jax.Array, same: jax.Array | None) -> Compared:
  """Sums scores [N,m], of which `same` are positives -> Compared."""
  positive = count = None
  if same is not None:
    positive = jnp.where(same, scores, 0.0).sum(1)
    count = same.sum(1).astype(jnp.float32)
  most = jax.lax.stop_gradient(scores).max(1, initial=-jnp.inf)
  return Compared(logsumexp(scores, axis=1), positive, count, most)


def _merge(a: Compared, b: Compared) -> Compared:
  return Compared(
    jnp.logaddexp(a.denominator, b.denominator),
    *jax.tree.map(jnp.add, a[1:3], b[1:3]),
    jnp.maximum(a.most, b.most),
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tiled(mode, tile, rows, columns, scale):
  return _tiled_forward(mode, tile, rows, columns, scale)[0]


def _tiled_forward(mode, tile, rows, columns, scale):
  def see(before, part):
    scores, same = pairwise.score(rows, part, scale)
    of_columns = logsumexp(scores, axis=0) if mode == "both" else None
    return _merge(before, _summary(scores, same)), of_columns

  zero = jnp.zeros(len(rows.x))
  nothing = zero if rows.label is not None else None
  start = Compared(zero - jnp.inf, nothing, nothing, zero - jnp.inf)
  compared, of_columns = pairwise.fold(see, start, columns, tile)
  saved = rows, columns, scale, compared.denominator, of_columns
  return (compared, of_columns), saved


def _tiled_backward(mode, tile, saved, grads):
  rows, columns, scale, denominator, of_columns = saved
  by_row, by_column = grads

  def weigh(scores, same, *aside):
    weights = _exponentials(scores, denominator[:, None], by_row.denominator[:, None])
    if aside:
      weights += _exponentials(scores, *(x[None] for x in aside[:2]))
    if same is not None:
      weights += jnp.where(same, by_row.positive[:, None], 0.0)
    if same is not None and mode == "among":
      weights += jnp.where(same, aside[2][None], 0.0)
    return weights

  if mode == "among":  # the score is also that of the column's own row
    aside = denominator, by_row.denominator, by_row.positive
    rows, _, scale = pairwise.gradients(weigh, rows, columns, scale, tile, aside)
    return rows, None, scale / 2
  aside = (of_columns, by_column) if mode == "both" else ()
  return pairwise.gradients(weigh, rows, columns, scale, tile, aside)


def _exponentials(scores, denominator, grad):
  """The gradient by the scores of denominators whose own is `grad`."""
  finite = jnp.where(jnp.isfinite(denominator), denominator, 0.0)
  return grad * jnp.exp(scores - finite)


_tiled.defvjp(_tiled_forward, _tiled_backward)


def _cost(scores, same):
  cost = softplus(jnp.where(same, -scores, scores)).sum(1)
  most = jax.lax.stop_gradient(scores).max(1)
  return cost, jnp.where(same, scores, 0.0).sum(1), most


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _answers(tile, rows, columns, scale):
  return _answers_forward(tile, rows, columns, scale)[0]


def _answers_forward(tile, rows, columns, scale):
  def see(before, part):
    cost, positive, most = _cost(*pairwise.score(rows, part, scale))
    sums = before[0] + cost, before[1] + positive
    return (*sums, jnp.maximum(before[2], most)), None

  zero = jnp.zeros(len(rows.x))
  out, _ = pairwise.fold(see, (zero, zero, zero - jnp.inf), columns, tile)
  return out, (rows, columns, scale)


def _answers_backward(tile, saved, grads):
  by_cost, by_positive = (x[:, None] for x in grads[:2])

  def weigh(scores, same):
    answer = jnp.where(same, -sigmoid(-scores), sigmoid(scores))
    return by_cost * answer + jnp.where(same, by_positive, 0.0)

  return pairwise.gradients(weigh, *saved, tile)


_answers.defvjp(_answers_forward, _answers_backward)
