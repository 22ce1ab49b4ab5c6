"""Where patches lie: tables of position embeddings, and rotations."""

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


def rotary(height: int, width: int, dim: int, base: float = 100.0) -> jax.Array:
  """Makes the angles [height*width, dim] of a head's numbers, row-major (DINOv3).

  The centre of a patch is its row and column in -1..1, each side by itself, so that
  pictures of any size have the same range. A quarter of the angles is the row at
  wavelengths of 1 to `base`, in such units, a quarter the column; the second half is
  the first again, as `rotate` pairs them. ConfigError unless 4 divides dim.
  """
  omega = _frequencies(dim, base)
  row, column = (x[:, None] * omega for x in _centres(height, width))
  return jnp.asarray(np.concatenate([row, column, row, column], axis=1), jnp.float32)


def varied_rotary(
  keys: jax.Array,
  height: int,
  width: int,
  dim: int,
  base: float = 100.0,
  shift: float = 0.0,
  jitter: float = 0.0,
  rescale: float = 0.0,
) -> jax.Array:
  """Makes `rotary`'s angles [B,height*width,dim] in a box that is drawn by keys [B].

  DINOv3 (Siméoni et al. 2025), in the order of its code: each side moves by up to
  `shift`, is times 1 / `jitter` to `jitter`, log-uniform, and both sides alike times 1
  / `rescale` to `rescale` (2 in its 7B). 0: not.
  """
  centres = jnp.asarray(_centres(height, width), jnp.float32)
  omega = jnp.asarray(_frequencies(dim, base), jnp.float32)[None]

  def one(key):
    u = 2 * jax.random.uniform(jax.random.fold_in(key, BOX), (5,)) - 1
    factors = jnp.exp(u[2:4] * np.log(jitter or 1.0) + u[4] * np.log(rescale or 1.0))
    row, column = (centres + shift * u[:2, None]) * factors[:, None]
    row, column = row[:, None] * omega, column[:, None] * omega
    return jnp.concatenate([row, column, row, column], axis=1)

  return jax.vmap(one)(keys)


BOX = 2  # folded into a block's key: 0 and 1 are its drop path's


def _centres(height: int, width: int) -> np.ndarray:
  """Makes rows and columns [2,height*width] of patch centres, in -1..1."""
  row = np.repeat((np.arange(height) + 0.5) / height * 2 - 1, width)
  return np.stack([row, np.tile((np.arange(width) + 0.5) / width * 2 - 1, height)])


def _frequencies(dim: int, base: float) -> np.ndarray:
  if dim % 4:
    raise ConfigError(
      f"a head has {dim} numbers; rotary positions need a multiple of 4"
    )
  return 2 * np.pi * base ** -(np.arange(dim // 4) / (dim // 4))


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
  """Rotates numbers i and i + d/2 of tokens [B,N,h,d] by angles [1 or B,N,d]."""
  angles, exact = angles[:, :, None], x.astype(jnp.float32)
  first, second = jnp.split(exact, 2, axis=-1)
  turned = jnp.concatenate([-second, first], axis=-1)
  return (exact * jnp.cos(angles) + turned * jnp.sin(angles)).astype(x.dtype)


def relative_index(height: int, width: int) -> np.ndarray:
  """Numbers where a key lies from a query in a grid -> [N,N], row-major.

  The same rows and columns apart, the same of (2 height - 1)(2 width - 1) numbers.
  """
  row, column = np.divmod(np.arange(height * width), width)
  down = row[:, None] - row[None] + height - 1
  across = column[:, None] - column[None] + width - 1
  return down * (2 * width - 1) + across


def resize_positions(
  table: jax.Array, height: int, width: int, how: str = "by_scale"
) -> jax.Array:
  """Resizes a table [g,g,D] -> [height,width,D], `how` one of RESIZES, all bicubic.

  "by_scale" is DINO's: it asks for 0.1 patch more than it needs, and PyTorch samples
  with the scale it is given: a plain resize to height x width, "bicubic", as Hugging
  Face has it, gives other values. "antialias" is timm's, and DINOv2's with registers.
  """
  rows = jnp.asarray(RESIZES[how](table.shape[0], height), table.dtype)
  columns = jnp.asarray(RESIZES[how](table.shape[1], width), table.dtype)
  return jnp.einsum("hi,wj,ijd->hwd", rows, columns, table)


def _bicubic(old: int, new: int, more: float = 0.0) -> np.ndarray:
  """Makes [new, old] weights of Keys' kernel (a = -0.75), edges repeated."""
  centre = (np.arange(new) + 0.5) * old / (new + more) - 0.5
  first = np.floor(centre).astype(int)
  weights = np.zeros((new, old))
  for tap in range(-1, 3):
    t = np.abs(centre - (first + tap))
    near = (1.25 * t - 2.25) * t * t + 1
    far = -0.75 * (((t - 5) * t + 8) * t - 4)
    column = np.clip(first + tap, 0, old - 1)
    np.add.at(weights, (np.arange(new), column), np.where(t <= 1, near, far))
  return weights


def _by_scale(old: int, new: int) -> np.ndarray:
  return _bicubic(old, new, 0.1)


def _antialiased(old: int, new: int) -> np.ndarray:
  """Makes [new, old] weights of Keys' kernel (a = -0.5), wider where it shrinks."""
  scale = old / new
  centre = (np.arange(new) + 0.5)[:, None] * scale
  t = np.abs(np.arange(old)[None] + 0.5 - centre) / max(scale, 1.0)
  near = (1.5 * t - 2.5) * t * t + 1
  far = -0.5 * (((t - 5) * t + 8) * t - 4)
  weights = np.where(t <= 1, near, np.where(t < 2, far, 0.0))
  return weights / weights.sum(1, keepdims=True)


RESIZES = {"by_scale": _by_scale, "bicubic": _bicubic, "antialias": _antialiased}
