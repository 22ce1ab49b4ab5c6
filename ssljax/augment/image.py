"""Pictures under jit, one a call: crop, resize, colour, blur. `vmap` does the rest.

A picture is [3,H,W] f32 in [0,1]: planes, because colour is arithmetic between them.
Crops, resizing and blur take any number of planes.
Randomness comes in as numbers uniform in [0,1). The semantics are Pillow's and
torchvision's, without the rounding to 8 bits between the steps, or another library's.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ATTEMPTS = 10  # boxes tried before the central one
BOX_DRAWS = 2 * ATTEMPTS + 2
RATIO = (3 / 4, 4 / 3)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"; torchvision cuts to 0.2989

RGB_TO_XYZ = (
  (0.412453, 0.357580, 0.180423),
  (0.212671, 0.715160, 0.072169),
  (0.019334, 0.119193, 0.950227),
)
D65 = (0.95047, 1.0, 1.08883)  # white
RGB_TO_YCBCR = (
  (65.481, 128.553, 24.966),
  (-37.797, -74.203, 112.0),
  (112.0, -93.786, -18.214),
)


class Library(NamedTuple):
  """What tells the operations of one official code from those of another."""

  antialias: bool  # a wider filter when shrinking
  padding: str  # what a blur sees beyond the edge, in NumPy's words
  own_means: bool  # contrast is about each channel's mean, not about the luma's
  hsv: bool  # saturation is that of HSV, not a blend with the luma
  adds: bool  # brightness is added, not multiplied


TORCHVISION = Library(True, "reflect", own_means=False, hsv=False, adds=False)
TENSORFLOW = Library(False, "constant", own_means=True, hsv=True, adds=False)

# of brightness, contrast, saturation, hue: i32 [24,4]
ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


def crop_box(
  u: jax.Array,
  scale: tuple,
  height: jax.Array | int,
  width: jax.Array | int,
  aspect: jax.Array,
  ratios: tuple = RATIO,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Draws torchvision's RandomResizedCrop -> top, left, height, width, whole f32.

  The area is a uniform fraction in `scale`, the ratio log-uniform in `ratios`; the
  first of ten boxes that fits is placed uniformly, else the central one of allowed
  ratio is taken. `u` [22] uniform. `aspect` f32[] is the true width / height of the
  picture that was squeezed onto height x width pixels: the law holds for the picture,
  the box returned is on the canvas. Unsqueezed, this is torchvision's box.
  """
  area = scale[0] + (scale[1] - scale[0]) * u[:ATTEMPTS]
  low, high = math.log(ratios[0]), math.log(ratios[1])
  ratio = jnp.exp(low + (high - low) * u[ATTEMPTS : 2 * ATTEMPTS])
  squeezed = ratio / aspect[None]
  w = jnp.round(width * jnp.sqrt(area * squeezed))
  h = jnp.round(height * jnp.sqrt(area / squeezed))
  fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
  first = jnp.argmax(fits)
  w_centre = jnp.round(width * jnp.minimum(1.0, ratios[1] / aspect))
  h_centre = jnp.round(height * jnp.minimum(1.0, aspect / ratios[0]))
  w = jnp.where(fits.any(), w[first], jnp.maximum(w_centre, 1.0))
  h = jnp.where(fits.any(), h[first], jnp.maximum(h_centre, 1.0))
  top = jnp.where(fits.any(), u[-2] * (height - h + 1), (height - h) / 2)
  left = jnp.where(fits.any(), u[-1] * (width - w + 1), (width - w) / 2)
  return jnp.floor(top), jnp.floor(left), h, w


def _triangle(x: jax.Array) -> jax.Array:
  return jnp.maximum(0.0, 1 - x)


def _keys_cubic(x: jax.Array) -> jax.Array:
  """Keys (1981) with A = -0.5."""
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


FILTERS = {"bilinear": _triangle, "bicubic": _keys_cubic}


def _resize_weights(
  start: jax.Array,
  stop: jax.Array,
  inputs: int,
  outputs: int,
  interpolation: str,
  antialias: bool,
) -> jax.Array:
  """Makes [outputs, inputs] that resamples pixels start..stop; start > stop mirrors."""
  step = (stop - start) / outputs
  centre = start + step * (jnp.arange(outputs, dtype=jnp.float32) + 0.5)
  pixel = jnp.arange(inputs, dtype=jnp.float32)[None] + 0.5
  stretch = jnp.maximum(jnp.abs(step), 1.0) if antialias else 1.0
  weights = FILTERS[interpolation](jnp.abs(pixel - centre[:, None]) / stretch)
  is_inside = (jnp.minimum(start, stop) <= pixel) & (pixel <= jnp.maximum(start, stop))
  weights = jnp.where(is_inside, weights, 0.0)
  return weights / weights.sum(1, keepdims=True)


def crop_resize(
  image: jax.Array,
  box: tuple,
  flip: jax.Array | bool,
  size: int,
  interpolation: str,
  library: Library = TORCHVISION,
) -> jax.Array:
  """Crops and resizes uint8 [H,W,C] -> [C,size,size], antialiased as Pillow, mirrored.

  No pixel outside the box is seen. Two matrix products hold the crop, the filter and
  the flip; in TF32 or bfloat16, an accelerator's default, they stay within a gray
  level. (At 224 pixels they beat a gather of the few taps on CPU too.)
  """
  height, width, _ = image.shape
  top, left, h, w = box
  right = left + w
  start, stop = jnp.where(flip, right, left), jnp.where(flip, left, right)
  how = interpolation, library.antialias
  rows = _resize_weights(top, top + h, height, size, *how)
  columns = _resize_weights(start, stop, width, size, *how)
  x = jnp.moveaxis(image, 2, 1).astype(jnp.float32) / 255
  x = jnp.einsum("hH,HcW->hcW", rows, x)
  return jnp.clip(jnp.einsum("wW,hcW->chw", columns, x), 0.0, 1.0)


def fit(image: jax.Array, extent: jax.Array, size: int) -> jax.Array:
  """Resizes what is in use, f32 [2], of uint8 [H,W,C] -> uint8 [size,size,C]."""
  zero = jnp.zeros((), jnp.float32)
  x = crop_resize(image, (zero, zero, *extent), False, size, "bilinear")
  return jnp.moveaxis(jnp.round(255 * x), 0, 2).astype(jnp.uint8)


def luma(x: jax.Array) -> jax.Array:
  """Computes the brightness that the eye sees: [3,H,W] -> [H,W]."""
  return LUMA[0] * x[0] + LUMA[1] * x[1] + LUMA[2] * x[2]


def turn_hue(x: jax.Array, turn: jax.Array) -> jax.Array:
  """Rotates hue by `turn` in -0.5..0.5 of the circle; HSV value, saturation stay.

  A channel of hue h in sixths is max - (max - min) * clip(min(k, 4 - k), 0, 1) with
  k = (n + h) mod 6 and n = 5, 3, 1 for red, green, blue.
  """
  red, green, blue = x
  top = jnp.maximum(jnp.maximum(red, green), blue)
  chroma = top - jnp.minimum(jnp.minimum(red, green), blue)
  offset = jnp.where(top == red, 0.0, jnp.where(top == green, 2.0, 4.0))
  slope = jnp.where(
    top == red, green - blue, jnp.where(top == green, blue - red, red - green)
  )
  hue = offset + slope / jnp.where(chroma == 0, 1.0, chroma) + 6 * turn
  k = jnp.array([5.0, 3.0, 1.0])[:, None, None] + hue[None]
  k = k - 6 * jnp.floor(k / 6)
  return top[None] - chroma[None] * jnp.clip(jnp.minimum(k, 4 - k), 0.0, 1.0)


def saturate(x: jax.Array, factor: jax.Array) -> jax.Array:
  """Multiplies HSV saturation by `factor`, to at most 1; hue and value stay."""
  top = x.max(0)
  chroma = top - x.min(0)
  most = top / jnp.where(chroma == 0, 1.0, chroma)
  return top[None] - (top[None] - x) * jnp.minimum(factor, most)[None]


def colour(
  x: jax.Array, operation: jax.Array, amount: jax.Array, library: Library = TORCHVISION
) -> jax.Array:
  """Changes brightness, contrast or saturation by a factor, or hue: operation 0..3.

  The first three blend with black, with the picture's mean luma, with the luma of
  each pixel, or do what `library` says; the result is clipped to [0,1] each time.
  """
  gray = luma(x)[None]
  mean = x.mean((1, 2), keepdims=True) if library.own_means else gray.mean()
  blended = jnp.where(operation == 1, mean, gray)
  blended = jnp.where(operation == 0, 0.0, blended)
  y = amount * x + (1 - amount) * blended
  if library.adds:
    y = jnp.where(operation == 0, x + amount - 1, y)
  if library.hsv:
    y = jnp.where(operation == 2, saturate(x, amount), y)
  return jnp.where(operation == 3, turn_hue(x, amount), jnp.clip(y, 0.0, 1.0))


def jitter(
  x: jax.Array, order: jax.Array, amounts: jax.Array, library: Library = TORCHVISION
) -> jax.Array:
  """Applies the four operations of `colour`, `amounts` [4], in the `order` i32 [4]."""

  def step(x, operation):
    return colour(x, operation, amounts[operation], library), None

  return jax.lax.scan(step, x, order)[0]


def blur(
  x: jax.Array, sigma: jax.Array, library: Library = TORCHVISION, reach: int = 0
) -> jax.Array:
  """Blurs by a Gaussian cut at size // 20 pixels each side, or at `reach` if more.

  The first is SimCLR's and BYOL's rule: 23 taps at 224 pixels. Pillow's blur, in MoCo's
  and DINO's code, is not cut, and three box blurs that come close to a Gaussian.
  """
  radius = max(x.shape[1] // 20, min(reach, min(x.shape[1:]) - 1))
  taps = jnp.exp(-0.5 * (jnp.arange(radius + 1, dtype=jnp.float32) / sigma) ** 2)
  taps = taps / (2 * taps.sum() - taps[0])
  height, width = x.shape[1:]
  x = jnp.pad(x, ((0, 0), (radius, radius), (radius, radius)), mode=library.padding)
  for axis, size in ((1, height), (2, width)):
    x = sum(
      taps[abs(i - radius)] * jax.lax.slice_in_dim(x, i, i + size, axis=axis)
      for i in range(2 * radius + 1)
    )
  return x


def solarize(x: jax.Array) -> jax.Array:
  """Inverts what is 0.5 or brighter."""
  return jnp.where(x >= 0.5, 1 - x, x)


def erase(x: jax.Array, u: jax.Array, noise: jax.Array) -> jax.Array:
  """Replaces a box of 2 to 33 % of the area of [C,H,W] by noise, normal [C,H,W].

  Random erasing (Zhong et al. 2020) as timm has it, of ratios 0.3 to 10/3; `u` [22] as
  of `crop_box`. The noise has mean and deviation of ImageNet's pixels.
  """
  height, width = x.shape[1:]
  box = crop_box(u, (0.02, 1 / 3), height, width, jnp.float32(1), (0.3, 1 / 0.3))
  top, left, h, w = box
  row, column = jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=x.dtype)
  rows, columns = (row >= top) & (row < top + h), (column >= left) & (column < left + w)
  return jnp.where((rows[:, None] & columns[None])[None], 0.45 + 0.225 * noise, x)


def rgb_to_lab(x: jax.Array) -> jax.Array:
  """Converts sRGB [3,H,W] in [0,1] to CIE L in 0..100, a, b: D65, 2 degrees.

  As scikit-image.
  """
  linear = jnp.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
  t = _mix(RGB_TO_XYZ, linear) / jnp.array(D65)[:, None, None]
  f = jnp.where(t > 0.008856, jnp.cbrt(t), 7.787 * t + 16 / 116)
  return jnp.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def rgb_to_ycbcr(x: jax.Array) -> jax.Array:
  """Converts [3,H,W] in [0,1] to Y in 16..235, Cb and Cr in 16..240 (ITU-R 601)."""
  return _mix(RGB_TO_YCBCR, x) + jnp.array([16.0, 128.0, 128.0])[:, None, None]


COLOURS = {
  "rgb": lambda x: x,
  "gray": lambda x: luma(x)[None],
  "lab": rgb_to_lab,
  "ycbcr": rgb_to_ycbcr,
}


def _mix(matrix: tuple, x: jax.Array) -> jax.Array:
  exact = jax.lax.Precision.HIGHEST
  return jnp.einsum("ij,jhw->ihw", jnp.array(matrix), x, precision=exact)
