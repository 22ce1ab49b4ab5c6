"""Scores of all rows with all columns, as one array or a tile of columns at a time.

  score_ij = scale rows_i . columns_j + bias_j

rows [N,D]   columns [M,D]   bias [M]   scores [N,M], or [N,m] of m columns
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

# Scores are cosines over temperatures of 0.07, so products of float32 are true ones: by
# default accelerators keep 10 or fewer bits of a factor. Three products of bfloat16
# (DotAlgorithmPreset.BF16_BF16_F32_X3) keep 16: off by 1e-4 of a score, where the
# official losses are met to 1e-6.
PRECISION = jax.lax.Precision.HIGHEST
ONE_ARRAY = 2**24  # scores that are one array: 64 MiB
IN_A_TILE = 2**22  # where there are more: a tile stays near the cores


class Rows(NamedTuple):
  """What is compared: vectors, and who they are."""

  x: jax.Array  # [N,D] float32 or bfloat16
  id: jax.Array | None = None  # i32 [N,1]  not compared with a column of this id
  label: jax.Array | None = None  # i32 [N,1]  positives are the columns of this label


class Columns(NamedTuple):
  """With what rows are compared."""

  x: jax.Array  # [M,D]
  id: jax.Array | None = None  # i32 [M]
  label: jax.Array | None = None  # i32 [M]
  bias: jax.Array | None = None  # f32 [M]


class Tile(NamedTuple):
  """How many columns are scored at once: neighbours or, `dealt`, some from all over."""

  size: int
  dealt: bool = False


def numbers(n: int) -> tuple[jax.Array, jax.Array]:
  """Numbers n rows, i32 [n,1], and n columns, i32 [n], alike: row i is column i.

  In two shapes: of one array devices would send each other the parts.
  """
  return jax.lax.broadcasted_iota(jnp.int32, (n, 1), 0), jnp.arange(n)


def columns_at_once(n: int, m: int) -> int:
  """Decides how many of M columns N rows are scored with at once: all, or a tile's.

  About IN_A_TILE / N of them, but some that divide M if there are any: the rest would
  have to be filled up.
  """
  if n * m <= ONE_ARRAY:
    return m
  most = max(128, IN_A_TILE // n // 128 * 128)
  return next((size for size in range(most, most // 2, -8) if m % size == 0), most)


def score(rows: Rows, columns: Columns, scale: Any) -> tuple[jax.Array, Any]:
  """Scores -> [N,M], minus infinity where ids are equal; where labels are, or None."""
  scores = scale * product(rows.x, columns.x)
  if columns.bias is not None:
    scores += columns.bias[None]
  if rows.id is not None:
    scores = jnp.where(rows.id == columns.id[None], -jnp.inf, scores)
  if rows.label is None:
    return scores, None
  return scores, (rows.label == columns.label[None]) & (scores > -jnp.inf)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Multiplies [N,D] and [M,D] -> [N,M] f32; bfloat16 stays short in the gradient."""
  short = a.dtype == b.dtype == jnp.bfloat16
  return _short_product(a, b) if short else _matmul(a, b.T)


def read(weights: jax.Array, x: jax.Array) -> jax.Array:
  """Sums rows x [M,D] by weights [N,M] -> [N,D] f32."""
  return _matmul(weights.astype(x.dtype), x)


def _matmul(a, b):
  return jnp.matmul(a, b, precision=PRECISION, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _short_product(a, b):
  return _matmul(a, b.T)


def _short_backward(saved, grad):
  a, b = saved
  return read(grad, b).astype(a.dtype), read(grad.T, a).astype(b.dtype)


_short_product.defvjp(lambda a, b: (_matmul(a, b.T), (a, b)), _short_backward)


def filled(columns: Columns, size: int) -> Columns:
  """Fills up the last tile with columns whose scores are minus infinity."""
  m = len(columns.x)
  if not -m % size:
    return columns
  bias = jnp.zeros(m) if columns.bias is None else columns.bias
  bias = jnp.pad(bias, (0, -m % size), constant_values=-jnp.inf)
  return padded(columns, size)._replace(bias=bias)


def padded(tree: Any, size: int) -> Any:
  """Pads leaves [M,...] with zeros to a multiple of `size`."""

  def pad(x):
    return jnp.pad(x, [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1))

  return jax.tree.map(pad, tree)


def fold(step, carry: Any, tree: Any, tile: Tile) -> tuple[Any, Any]:
  """Folds step(carry, part) -> carry, out over parts [m,...] of leaves [M,...].

  -> the last carry, and the outs [m,...] joined to [M,...].
  """
  axis = 1 if tile.dealt else 0  # of the tiles; the other is a tile's
  split = (tile.size, -1) if tile.dealt else (-1, tile.size)
  parts = jax.tree.map(lambda x: x.reshape(*split, *x.shape[1:]), tree)

  def at(carry, i):
    take = functools.partial(jax.lax.dynamic_index_in_dim, axis=axis, keepdims=False)
    return step(carry, jax.tree.map(lambda x: take(x, i), parts))

  tiles = len(jax.tree.leaves(tree)[0]) // tile.size
  carry, out = jax.lax.scan(at, carry, jnp.arange(tiles))

  def join(x):
    return jnp.moveaxis(x, 0, axis).reshape(-1, *x.shape[2:])

  return carry, jax.tree.map(join, out)


def gradients(
  weigh, rows: Rows, columns: Columns, scale: Any, tile: Tile, aside: Any = ()
) -> tuple[Rows, Columns, jax.Array]:
  """Computes gradients by rows, columns and scale from those by the scores.

  `weigh(scores, same, *aside)` gives the latter for a tile, [N,m]; `aside` are arrays
  [M] that are cut as the columns are.
  """

  def add(total, part):
    columns, aside = part
    weights = weigh(*score(rows, columns, scale), *aside)
    x = (scale * read(weights.T, rows.x)).astype(columns.x.dtype)
    bias = None if columns.bias is None else weights.sum(0)
    return total + read(weights, columns.x), Columns(x, bias=bias)

  start = jnp.zeros(rows.x.shape)
  total, by_columns = fold(add, start, (columns, aside), tile)
  by_rows = Rows((scale * total).astype(rows.x.dtype))
  return by_rows, by_columns, (total * rows.x.astype(jnp.float32)).sum()
