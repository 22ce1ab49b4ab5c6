"""JPEG, on the device: what it loses, without the file."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ssljax.augment.image import LUMA, luma

# Of JPEG (ITU-T T.81, annex K), at quality 50: luminance, chrominance.
QUANTISATION = np.array(
  [
    [
      [16, 11, 10, 16, 24, 40, 51, 61],
      [12, 12, 14, 19, 26, 58, 60, 55],
      [14, 13, 16, 24, 40, 57, 69, 56],
      [14, 17, 22, 29, 51, 87, 80, 62],
      [18, 22, 37, 56, 68, 109, 103, 77],
      [24, 35, 55, 64, 81, 104, 113, 92],
      [49, 64, 78, 87, 103, 121, 120, 101],
      [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    [
      [17, 18, 24, 47, 99, 99, 99, 99],
      [18, 21, 26, 66, 99, 99, 99, 99],
      [24, 26, 56, 99, 99, 99, 99, 99],
      [47, 66, 99, 99, 99, 99, 99, 99],
      *[[99] * 8] * 4,
    ],
  ]
)


def jpeg(key: jax.Array, x: jax.Array, tables: jax.Array) -> jax.Array:
  """Does to a picture what baseline JPEG does by its quantisation `tables` [2,8,8].

  See `qualities`.

  JFIF's YCbCr, 4:2:0, and chroma interpolated as libjpeg does. Its transform rounds on
  the way: a gray level or two is the difference.
  """
  height, width = x.shape[1:]
  gray = luma(x)
  ycc = jnp.stack([gray, (x[2] - gray) / 1.772, (x[0] - gray) / 1.402])
  ycc = jnp.round(255 * ycc).at[0].add(-128)
  ycc = jnp.pad(ycc, ((0, 0), (0, -height % 16), (0, -width % 16)), mode="edge")
  _, h, w = ycc.shape
  fours = ycc[1:].reshape(2, h // 2, 2, w // 2, 2).sum((2, 4))
  up = 1 + jnp.arange(w // 2, dtype=jnp.float32) % 2  # libjpeg's way to round halves
  chroma = jnp.floor((fours + up[None, None]) / 4)
  gray, chroma = _quantised(ycc[:1], tables[0]), _quantised(chroma, tables[1])
  h, w = -(-height // 2), -(-width // 2)  # of what is no padding
  chroma = jax.image.resize(chroma[:, :h, :w], (2, 2 * h, 2 * w), "linear")
  gray = gray[0, :height, :width] + 128
  blue, red = chroma[:, :height, :width]
  blue, red = gray + 1.772 * blue, gray + 1.402 * red
  green = (gray - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
  return jnp.stack([red, green, blue]) / 255


def qualities(five: tuple, side: int) -> np.ndarray:
  """Makes quantisation tables [5,2,8,8] at IJG's quality 1..100."""
  scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in five]
  return np.stack([np.clip((QUANTISATION * s + 50) // 100, 1, 255) for s in scales])


def _quantised(x: jax.Array, table: jax.Array) -> jax.Array:
  """Quantises levels [C,H,W] in -128..127, through the DCT of 8x8 blocks and back."""
  frequency, place = np.arange(8)[:, None], np.arange(8)[None] + 0.5
  cosines = np.cos(np.pi / 8 * frequency * place) / np.where(frequency, 2, math.sqrt(8))
  product = partial(jnp.einsum, precision="highest")
  cosines = jnp.asarray(cosines, jnp.float32)
  channels, height, width = x.shape
  blocks = x.reshape(channels, height // 8, 8, width // 8, 8)
  waves = product("ui,cyixj,vj->cyuxv", cosines, blocks, cosines)
  table = table[None, None, :, None]
  waves = jnp.round(waves / table) * table
  blocks = product("ui,cyuxv,vj->cyixj", cosines, waves, cosines)
  return jnp.clip(jnp.round(blocks.reshape(x.shape)), -128, 127)
