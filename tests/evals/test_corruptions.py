"""Corruptions against Pillow, SciPy and formulas in NumPy."""

import io

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from ssljax import sharding
from ssljax.evals import corruptions
from ssljax.evals.corruptions import blur, light

LEVEL = 1 / 255
NAMES = tuple(corruptions.CORRUPTIONS)
plasma = jax.jit(light.plasma, static_argnums=1)


def pictures(count, side):
  """Soft colours and a few edges: uint8 [N,S,S,3]."""
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (count, 6, 6, 3), np.uint8)
  images = [
    Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC) for x in small
  ]
  images = np.stack([np.asarray(image) for image in images])
  images[:, side // 4 : side // 2, side // 3 : side // 2] //= 3
  return images


def keys(count):
  return jax.random.split(jax.random.key(0), count)


def changed(name, severity, images):
  change = corruptions.change(name, severity)
  return np.asarray(change(keys(len(images)), jnp.asarray(images)))


def gray(level, count=4, side=32):
  return np.full((count, side, side, 3), level, np.uint8)


def difference(a, b):
  return np.abs(a.astype(float) - b.astype(float))


@pytest.mark.parametrize("name", NAMES)
def test_pictures_stay_pictures_and_get_worse_with_the_severity(name):
  images = pictures(8, 32)
  results = [changed(name, severity, images) for severity in (1, 2, 3, 4, 5)]
  assert all(x.dtype == np.uint8 and x.shape == images.shape for x in results)
  far = [difference(x, images).mean() for x in results]
  assert far[0] > 0
  if name != "saturate":  # the first two take colour away, the others add it
    assert far == sorted(far)


def test_five_severities_are_traced_once(monkeypatch):
  traced = []

  def darken(key, x, factor):
    traced.append(factor)
    return x * factor

  five = (0.5, 0.4, 0.3, 0.2, 0.1)
  own = {"darken": corruptions.Corruption(darken, five, five)}
  monkeypatch.setattr(corruptions, "CORRUPTIONS", own)
  for severity, factor in enumerate(five, 1):
    np.testing.assert_array_equal(changed("darken", severity, gray(200)), 200 * factor)
  assert len(traced) == 1


def test_above_64_pixels_the_numbers_are_those_of_imagenet():
  for side, factor in ((64, 0.75), (66, 0.4)):
    x = pictures(1, side)
    mean = x.mean((1, 2), keepdims=True)
    expected = mean + factor * (x - mean)
    assert difference(changed("contrast", 1, x), expected).max() < 0.51


@pytest.mark.parametrize("name", ["shot_noise", "motion_blur", "fog"])
def test_a_picture_is_changed_alike_in_any_batch_on_any_devices(name):
  images, order = pictures(16, 32), np.random.default_rng(0).permutation(16)
  change = corruptions.change(name, 5)
  alone = np.asarray(change(keys(16), jnp.asarray(images)))
  rows = sharding.by_rows(sharding.make_mesh())
  shared = jax.device_put((keys(16)[order], jnp.asarray(images[order])), rows)
  assert len(shared[1].sharding.device_set) == 8
  assert difference(change(*shared), alone[order]).max() <= 1


@pytest.mark.parametrize(
  ("name", "severity", "deviation"),
  [
    ("gaussian_noise", 5, 0.10),
    ("speckle_noise", 5, 0.2 * 128 * LEVEL),
    ("shot_noise", 5, np.sqrt(128 * LEVEL / 50)),
    ("shot_noise", 1, np.sqrt(128 * LEVEL / 500)),
  ],
)
def test_noise_keeps_the_mean_and_has_its_deviation(name, severity, deviation):
  x = changed(name, severity, gray(128)) * LEVEL
  assert x.mean() == pytest.approx(128 * LEVEL, abs=4 * deviation / np.sqrt(x.size))
  assert x.std() == pytest.approx(deviation, rel=0.03)


def test_impulses_are_black_and_white_alike():
  x = changed("impulse_noise", 5, gray(128))
  assert np.mean(x == 0) == pytest.approx(0.035, abs=0.006)
  assert np.mean(x == 255) == pytest.approx(0.035, abs=0.006)
  assert set(np.unique(x)) == {0, 128, 255}


@pytest.mark.parametrize("side", [32, 72])
@pytest.mark.parametrize("severity", [1, 5])
def test_jpeg_is_pillows_within_a_level_or_two(side, severity):
  images = pictures(4, side)
  small, large = ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7))
  quality = (small if side == 32 else large)[severity - 1]
  expected = []
  for image in images:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    expected.append(np.asarray(Image.open(file)))
  off = difference(changed("jpeg", severity, images), np.stack(expected))
  assert off.mean() < 0.75
  assert difference(images, np.stack(expected)).mean() > 4 * off.mean()


@pytest.mark.parametrize(("side", "share"), [(32, 0.65), (72, 0.25)])
def test_pixelate_is_pillows_box(side, share):
  (image,) = images = pictures(1, side)
  few, box = int(side * share), Image.Resampling.BOX
  expected = Image.fromarray(image).resize((few, few), box).resize((side, side), box)
  assert difference(changed("pixelate", 5, images)[0], np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(("side", "sigma"), [(32, 1.0), (72, 6.0)])
def test_gaussian_blur_is_scipys(side, sigma):
  (image,) = images = pictures(1, side)
  expected = scipy.ndimage.gaussian_filter(
    image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4
  )
  assert difference(changed("gaussian_blur", 5, images)[0], expected).max() < 0.51


def test_defocus_blur_spreads_a_point_over_a_disk():
  (_, _, _, small, large) = blur.disks(
    ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)), 32
  )
  cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5  # radius 1
  np.testing.assert_allclose(small[3:6, 3:6], cross, atol=1e-5)
  np.testing.assert_allclose(large[3:6, 3:6], np.full((3, 3), 1 / 9), atol=1e-5)
  (image,) = images = pictures(1, 32)
  expected = scipy.ndimage.uniform_filter(image.astype(float), (3, 3, 1), mode="mirror")
  assert difference(changed("defocus_blur", 5, images)[0], expected).max() < 0.51


def test_motion_blur_draws_a_point_out_along_a_line():
  images = np.zeros((4, 32, 32, 3), np.uint8)
  images[:, 16, 25] = 255
  taps = np.exp(-0.5 * (np.arange(19) / 2.5) ** 2)
  taps /= taps.sum()
  for key, x in zip(keys(4), changed("motion_blur", 5, images), strict=True):
    angle = np.radians(45 * float(jax.random.uniform(key, minval=-1.0)))
    expected = np.zeros((32, 32))
    for i, tap in enumerate(taps):
      down, right = (int(np.ceil(i * f(angle) - 0.5)) for f in (np.sin, np.cos))
      expected[16 - down, 25 - right] += 255 * tap
    assert difference(x, expected[:, :, None]).max() < 0.51


def test_zoom_blur_is_the_mean_of_scipys_zooms():
  (image,) = images = pictures(1, 32)
  image = image.astype(float)
  zooms = np.arange(1, 1.26, 0.01)
  total = image.copy()
  for zoom in zooms:
    crop = int(np.ceil(32 / zoom))
    top = (32 - crop) // 2
    part = image[top : top + crop, top : top + crop]
    part = scipy.ndimage.zoom(part, (zoom, zoom, 1), order=1)
    top = (len(part) - 32) // 2
    total += part[top : top + 32, top : top + 32]
  expected = total / (len(zooms) + 1)
  assert difference(changed("zoom_blur", 5, images)[0], expected).max() < 0.52


def test_fog_is_clouds_that_keep_the_brightest_value():
  x = gray(200, 1)
  cloud = np.asarray(plasma(keys(1)[0], 32, 1.75))[None, :, :, None]
  top = 200 * LEVEL
  expected = (top + 1.5 * cloud) * top / (top + 1.5)
  assert difference(changed("fog", 5, x) * LEVEL, expected).max() < 0.51 * LEVEL


def test_plasma_without_noise_is_the_mean_of_its_neighbours():
  x = np.asarray(plasma(jax.random.key(0), 16, 1e4))
  assert (x.min(), x.max()) == (0, 1)
  coarse, below = x[::2, ::2], np.roll(x[::2, ::2], -1, 0)
  centre = (coarse + below + np.roll(coarse + below, -1, 1)) / 4
  np.testing.assert_allclose(x[1::2, 1::2], centre, atol=1e-6)
  above = coarse + np.roll(coarse, -1, 1) + centre + np.roll(centre, 1, 0)
  np.testing.assert_allclose(x[::2, 1::2], above / 4, atol=1e-6)
  rough = [np.abs(np.diff(plasma(jax.random.key(0), 32, d))).mean() for d in (3, 1.5)]
  assert rough[0] < rough[1]


@pytest.mark.parametrize("severity", [1, 5])
def test_brightness_and_saturation_are_those_of_hsv(severity):
  images = pictures(1, 32)
  images[0, :2, :2] = [[[0, 0, 0], [90, 90, 90]], [[255, 255, 255], [255, 0, 0]]]
  hsv = matplotlib.colors.rgb_to_hsv(images * LEVEL)
  more = {1: 0.05, 5: 0.3}[severity]
  bright = hsv + more * np.array([0, 0, 1])
  factor, offset = {1: (0.3, 0), 5: (2.5, 0.2)}[severity]
  vivid = hsv * np.array([1, factor, 1]) + offset * np.array([0, 1, 0])
  for name, x in (("brightness", bright), ("saturate", vivid)):
    expected = 255 * matplotlib.colors.hsv_to_rgb(np.clip(x, 0, 1))
    assert difference(changed(name, severity, images), expected).max() < 0.51


def test_what_is_not_there_is_named():
  with pytest.raises(ValueError, match=r"corruption='frog' must be one of .* fog\?"):
    corruptions.change("frog", 1)
  with pytest.raises(ValueError, match="severity=6 must be a whole number from 1 to 5"):
    corruptions.change("fog", 6)
