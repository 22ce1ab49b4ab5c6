"""Blur of lenses and motion, by tables that NumPy makes beforehand.

A table has the five severities on its first axis; it is made of the published numbers
and of the side S of the picture.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def gaussian(key: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
  """Blurs by `taps` [K] in both directions (see `gaussians`); an edge goes on."""
  x = _filter(x, taps[:, None], "edge")
  return _filter(x, taps[None], "edge")


def gaussians(sigmas: tuple, side: int) -> np.ndarray:
  """Makes a Gaussian's taps [5,K], each cut at four of its deviations."""
  most = int(4 * max(sigmas) + 0.5)
  return np.stack([_bell(sigma, int(4 * sigma + 0.5), most) for sigma in sigmas])


def defocus(key: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Blurs as a lens by a `kernel` [K,K] (see `disks`); edges are mirrored."""
  return _filter(x, kernel, "reflect")


def disks(five: tuple, side: int) -> np.ndarray:
  """Makes kernels [5,K,K] of (radius, sigma): the pixels within, then a Gaussian.

  The original cuts the soft edge where the radius is 8 or 10.
  """
  most = math.ceil(max(radius for radius, _ in five)) + 2
  x = np.arange(-most, most + 1)
  kernels = []
  for radius, sigma in five:
    disk = (x[:, None] ** 2 + x[None] ** 2 <= radius**2).astype(float)
    taps = _bell(sigma, 1 if radius <= 8 else 2, most)
    for _ in range(2):  # columns, then rows
      disk = np.stack([np.convolve(column, taps, "same") for column in disk.T])
    kernels.append(disk / disk.sum())
  return np.stack(kernels)


def motion(key: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
  """Blurs by half a Gaussian, `taps` [K], along a line at -45 to 45 degrees.

  As ImageMagick's, which Hendrycks calls through wand: at whole pixels, and beyond an
  edge the picture goes on. That one rounds to 8 or 16 bits in between.
  """
  angle = math.pi / 4 * jax.random.uniform(key, minval=-1.0)
  far = len(taps) - 1
  steps = jnp.arange(len(taps), dtype=jnp.float32)
  down, right = (
    far + jnp.ceil(steps * along - 0.5).astype(jnp.int32)
    for along in (jnp.sin(angle), jnp.cos(angle))
  )
  wide = jnp.pad(x, ((0, 0), (far, far), (far, far)), mode="edge")

  def add(total, tap):
    weight, top, left = tap
    shifted = jax.lax.dynamic_slice(wide, (jnp.int32(0), top, left), x.shape)
    return total + weight * shifted, None

  return jax.lax.scan(add, jnp.zeros_like(x), (taps, down, right))[0]


def trails(five: tuple, side: int) -> np.ndarray:
  """Makes taps [5,K] of (radius, sigma): 2 radius + 1 of half a Gaussian."""
  steps = np.arange(2 * max(radius for radius, _ in five) + 1)
  taps = [
    np.exp(-0.5 * (steps / sigma) ** 2) * (steps <= 2 * radius)
    for radius, sigma in five
  ]
  return np.stack([row / row.sum() for row in taps])


def zoom(key: jax.Array, x: jax.Array, zooms: jax.Array) -> jax.Array:
  """Sums enlarged pictures, weighted, by `zooms` [K,3] (see `enlargements`)."""
  pixel = jnp.arange(x.shape[1], dtype=jnp.float32)

  def add(total, zoom):
    start, step, weight = zoom
    source = start + step * pixel
    rows = jnp.maximum(0.0, 1 - jnp.abs(source[:, None] - pixel[None]))
    return total + weight * jnp.einsum("hH,cHW,wW->chw", rows, x, rows), None

  return jax.lax.scan(add, jnp.zeros_like(x), zooms)[0]


def enlargements(five: tuple, side: int) -> np.ndarray:
  """Makes zooms [5,K,3] of (largest, step): the picture, enlarged by 1, 1 + step, ...

  A row (start, step, weight) says which pixels are seen, start + i step, and with what
  weight. As with the original's, a crop has whole pixels: the least that fill S.
  """
  grids = []
  for largest, step in five:
    rows = [(0.0, 1.0)]
    for zoom in np.arange(1, largest + step / 2, step):
      crop = math.ceil(side / zoom)
      grown = round(crop * zoom)
      pace = (crop - 1) / max(1, grown - 1)
      rows.append(((side - crop) // 2 + (grown - side) // 2 * pace, pace))
    grids.append([(*row, 1 / len(rows)) for row in rows])
  most = max(map(len, grids))
  return np.array([rows + (most - len(rows)) * [(0.0, 1.0, 0.0)] for rows in grids])


def pixelate(key: jax.Array, x: jax.Array, blocks: jax.Array) -> jax.Array:
  """Shrinks a picture and grows it again by a matrix [S,S] (see `shrinkings`)."""
  return jnp.einsum("hH,cHW,wW->chw", blocks, x, blocks)


def shrinkings(shares: tuple, side: int) -> np.ndarray:
  """Makes [5,S,S], which average S pixels to a share of as many, and repeat these."""
  matrices = []
  for share in shares:
    few = int(side * share)
    matrices.append(_box(few, side) @ _box(side, few))
  return np.stack(matrices)


def _filter(x: jax.Array, kernel: jax.Array, edges: str) -> jax.Array:
  """Correlates each channel of [C,H,W] with the [K,L] kernel, whose sides are odd."""
  around = [((k - 1) // 2, (k - 1) // 2) for k in kernel.shape]
  x = jnp.pad(x, ((0, 0), *around), mode=edges)
  kernel = kernel[None, None]
  return jax.lax.conv_general_dilated(x[:, None], kernel, (1, 1), "VALID")[:, 0]


def _bell(sigma: float, radius: int, most: int) -> np.ndarray:
  """Makes Gaussian taps [2 most + 1] that sum to 1, none beyond `radius`."""
  x = np.arange(-most, most + 1)
  taps = np.exp(-0.5 * (x / sigma) ** 2) * (np.abs(x) <= radius)
  return taps / taps.sum()


def _box(inputs: int, outputs: int) -> np.ndarray:
  """Makes [outputs, inputs] of Pillow's BOX resize, the mean of the pixels within."""
  step = inputs / outputs
  centre = step * (np.arange(outputs)[:, None] + 0.5)
  near = np.abs(np.arange(inputs)[None] + 0.5 - centre) <= max(step, 1) / 2
  return near / near.sum(1, keepdims=True)
