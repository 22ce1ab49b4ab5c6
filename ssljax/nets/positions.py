"""Where patches lie: tables of position embeddings."""

import jax
import jax.numpy as jnp
import numpy as np

from ssljax.fields import ConfigError


def sincos(height: int, width: int, dim: int, column_first: bool = False) -> jax.Array:
  """Makes fixed 2-D positions [height*width, dim] of a grid, row-major (MoCo v3).

  Quarters of the features: sine and cosine of the row, sine and cosine of the
  column, at wavelengths from 2 pi to 10000 * 2 pi; with `column_first` the column's
  before the row's (MAE). ConfigError unless 4 divides dim.
  """
  if dim % 4:
    raise ConfigError(f"width={dim} must be a multiple of 4 for sincos positions")
  omega = 10000.0 ** -(np.arange(dim // 4) / (dim // 4))
  row = np.repeat(np.arange(height), width)[:, None] * omega
  column = np.tile(np.arange(width), height)[:, None] * omega
  first, second = (column, row) if column_first else (row, column)
  table = [np.sin(first), np.cos(first), np.sin(second), np.cos(second)]
  return jnp.asarray(np.concatenate(table, axis=1), jnp.float32)


def resize_positions(table: jax.Array, height: int, width: int) -> jax.Array:
  """Resizes a table [g,g,D] -> [height,width,D], bicubic, as DINO does it.

  DINO asks for 0.1 patch more than it needs, and PyTorch samples with the scale it
  is given: a plain resize to height x width gives other values.
  """
  rows = jnp.asarray(_bicubic(table.shape[0], height), table.dtype)
  columns = jnp.asarray(_bicubic(table.shape[1], width), table.dtype)
  return jnp.einsum("hi,wj,ijd->hwd", rows, columns, table)


def _bicubic(old: int, new: int) -> np.ndarray:
  """Makes [new, old] weights of Keys' kernel (a = -0.75), edges repeated."""
  centre = (np.arange(new) + 0.5) * old / (new + 0.1) - 0.5
  first = np.floor(centre).astype(int)
  weights = np.zeros((new, old))
  for tap in range(-1, 3):
    t = np.abs(centre - (first + tap))
    near = (1.25 * t - 2.25) * t * t + 1
    far = -0.75 * (((t - 5) * t + 8) * t - 4)
    column = np.clip(first + tap, 0, old - 1)
    np.add.at(weights, (np.arange(new), column), np.where(t <= 1, near, far))
  return weights
