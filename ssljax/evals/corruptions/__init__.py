"""What goes wrong with pictures, in five severities (Hendrycks and Dietterich 2019).

Fourteen of the nineteen of CIFAR-10-C and ImageNet-C; glass blur, snow, frost, spatter
and elastic are not here. Each is a function of one square picture: (key, f32 [3,S,S] in
[0,1], parameters) -> [3,S,S], which may leave [0,1]. Numbers and formulas are the
published ones. Everywhere different: the originals cut to whole gray levels, here they
are rounded; they corrupt the 224 pixels that ImageNet's networks see and store them as
JPEG, here the whole picture, squeezed to the 256 pixels of which those are seen, is
corrupted and not stored.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import fields
from ssljax.evals.corruptions import blur, compression, light, noise

SMALL = 64  # pixels of the side up to which a picture is corrupted as in CIFAR-10-C


def plain(five: tuple, side: int) -> np.ndarray:
  """Returns the numbers of five severities as an array, [5] or [5,P]."""
  return np.array(five)


class Corruption(NamedTuple):
  """A function that corrupts pictures, and its numbers in five severities."""

  apply: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
  small: tuple  # CIFAR-10-C
  large: tuple  # ImageNet-C
  prepare: Callable[[tuple, int], np.ndarray] = plain


CORRUPTIONS = {
  "gaussian_noise": Corruption(
    noise.gaussian, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)
  ),
  "shot_noise": Corruption(noise.shot, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
  "impulse_noise": Corruption(
    noise.impulse, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)
  ),
  "speckle_noise": Corruption(
    noise.speckle, (0.06, 0.1, 0.12, 0.16, 0.2), (0.15, 0.2, 0.35, 0.45, 0.6)
  ),
  "gaussian_blur": Corruption(
    blur.gaussian, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6), blur.gaussians
  ),
  "defocus_blur": Corruption(
    blur.defocus,
    ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    blur.disks,
  ),
  "motion_blur": Corruption(
    blur.motion,
    ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    blur.trails,
  ),
  "zoom_blur": Corruption(
    blur.zoom,
    ((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01)),
    ((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03)),
    blur.enlargements,
  ),
  "fog": Corruption(
    light.fog,
    ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
  ),
  "brightness": Corruption(
    light.brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)
  ),
  "contrast": Corruption(
    light.contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)
  ),
  "saturate": Corruption(
    light.saturate,
    ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
  ),
  "pixelate": Corruption(
    blur.pixelate,
    (0.95, 0.9, 0.85, 0.75, 0.65),
    (0.6, 0.5, 0.4, 0.3, 0.25),
    blur.shrinkings,
  ),
  "jpeg": Corruption(
    compression.jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7), compression.qualities
  ),
}


def change(name: str, severity: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """Makes (keys [B], uint8 [B,S,S,3]) -> uint8; no severity 1..5 compiles anew.

  Up to 64 pixels with the numbers of CIFAR-10-C, above with those of ImageNet-C.
  """
  fields.check_choice("corruption", name, CORRUPTIONS)
  if severity not in (1, 2, 3, 4, 5):
    raise ValueError(f"severity={severity} must be a whole number from 1 to 5")
  return partial(_change, np.int32(severity - 1), name=name)


@partial(jax.jit, static_argnames="name")
def _change(severity, keys, images, *, name):
  apply, small, large, prepare = CORRUPTIONS[name]
  side = images.shape[1]
  five = prepare(small if side <= SMALL else large, side)
  parameters = jnp.asarray(five, jnp.float32)[severity]
  return over_batch(lambda key, x: apply(key, x, parameters))(keys, images)


def over_batch(
  one: Callable[[jax.Array, jax.Array], jax.Array],
) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """Lifts (key, f32 [3,H,W]) -> [3,H,W] to (keys [B], uint8 [B,H,W,3]) -> the same."""

  def change(keys, images):
    x = jnp.moveaxis(images, 3, 1).astype(jnp.float32) / 255
    x = jnp.round(255 * jnp.clip(jax.vmap(one)(keys, x), 0.0, 1.0))
    return jnp.moveaxis(x, 1, 3).astype(jnp.uint8)

  return change
