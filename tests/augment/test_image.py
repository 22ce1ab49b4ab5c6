import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from ssljax import augment
from ssljax.augment import image as ops
from ssljax.augment.views import LIBRARIES, NO_BLUR
from tests.oracle_file import oracle

LEVEL = 1 / 255
crop_resize = jax.jit(ops.crop_resize, static_argnums=(3, 4, 5))
colour = jax.jit(ops.colour, static_argnums=3)
blur = jax.jit(ops.blur)


def planes(image):
  return jnp.moveaxis(jnp.asarray(image, jnp.float32), 2, 0)


def channels_last(x):
  return np.moveaxis(np.asarray(x), 0, 2)


def picture(side):
  return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_and_resize_is_pillows(interpolation):
  o = oracle("14_tv_resized_crop_0")
  box = [float(o[f"hp_{k}"]) for k in ("top", "left", "height", "width")]
  x = crop_resize(jnp.asarray(o["in_image_u8"]), box, False, 16, interpolation)
  pil = o[f"out_pil_{interpolation}"] * LEVEL
  np.testing.assert_allclose(channels_last(x), pil, atol=1.01 * LEVEL)
  exact = np.clip(o[f"out_{interpolation}_aa"], 0, 1)  # of the picture before 8 bits
  np.testing.assert_allclose(channels_last(x), exact, atol=0.8 * LEVEL)


@pytest.mark.parametrize(
  ("box", "size"), [((0, 0, 32, 32), 12), ((4, 9, 7, 5), 20), ((3, 1, 28, 9), 16)]
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shrunk_grown_and_mirrored_crops_are_pillows(box, size, interpolation):
  x = 64 + picture(32) // 2  # Pillow cuts overshoot between its two passes
  top, left, h, w = box
  kind = Image.Resampling[interpolation.upper()]
  pil = Image.fromarray(x).crop((left, top, left + w, top + h))
  pil = pil.resize((size, size), kind).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  box = [jnp.float32(b) for b in box]
  x = crop_resize(jnp.asarray(x), box, True, size, interpolation)
  np.testing.assert_allclose(
    channels_last(x), np.asarray(pil) * LEVEL, atol=1.01 * LEVEL
  )


@pytest.mark.parametrize(
  ("operation", "enhance"),
  [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.2, 1.0, 1.7])
def test_factors_of_colour_are_pillows(operation, enhance, factor):
  x = picture(24)
  pil = np.asarray(enhance(Image.fromarray(x)).enhance(factor))
  x = colour(planes(x * np.float32(LEVEL)), jnp.int32(operation), jnp.float32(factor))
  np.testing.assert_allclose(channels_last(x), pil * LEVEL, atol=1.5 * LEVEL)


def test_gray_and_solarized_pictures_are_pillows():
  o = oracle("14_pil_ops_0")
  x = planes(o["in_image"] * np.float32(LEVEL))
  gray = np.asarray(ops.luma(x))
  np.testing.assert_allclose(
    gray, o["out_grayscale"][:, :, 0] * LEVEL, atol=0.51 * LEVEL
  )
  inverted = channels_last(ops.solarize(x))
  np.testing.assert_allclose(inverted, o["out_solarize"] * LEVEL, atol=1e-6)


def test_jitter_in_either_order_is_torchvisions():
  o = oracle("14_tv_color_0")
  x = planes(o["in_image"])
  names = ("brightness", "contrast", "saturation", "hue")
  amounts = jnp.array([o[f"hp_{n}_factor"] for n in names], jnp.float32)
  for operation, name in enumerate(names):
    one = colour(x, jnp.int32(operation), amounts[operation])
    atol = 1e-5 if name in ("brightness", "hue") else 2e-4  # the others' luma differs
    np.testing.assert_allclose(channels_last(one), o[f"out_{name}"], atol=atol)
  for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
    result = jax.jit(ops.jitter)(x, jnp.array(order, jnp.int32), amounts)
    expected = o["out_order_" + "".join(map(str, order))]
    np.testing.assert_allclose(channels_last(result), expected, atol=4e-4)


TF = ("14_simclr_tf_aug_0", "simclr"), ("14_byol_aug_0", "byol")


@pytest.mark.parametrize(("file", "library"), TF)
def test_colour_and_blur_are_those_of_simclrs_and_byols_own_code(file, library):
  """Those are not clipped yet: their users do that after each."""
  o, by = oracle(file), LIBRARIES[library]
  x = planes(o["in_image"])
  amounts = {
    1: o["hp_contrast_factor"],
    2: o["hp_saturation_factor"],
    3: o["hp_hue_delta"],
  }
  names = {1: "contrast", 2: "saturation", 3: "hue"}
  if library == "byol":
    amounts[0], names[0] = 1 + o["hp_brightness_delta"], "brightness"
  for operation, amount in amounts.items():
    ours = colour(x, jnp.int32(operation), jnp.float32(amount), by)
    theirs = np.clip(o[f"out_{names[operation]}"], 0, 1)
    np.testing.assert_allclose(channels_last(ours), theirs, atol=3e-6)
  wide = jnp.pad(x, ((0, 0), (8, 8), (8, 8)))
  padded = ops.blur(wide, jnp.float32(o["hp_sigma"]), by)
  assert o["hp_kernel_size"] // 2 == padded.shape[1] // 20  # so far it reaches
  theirs = o["out_blur"]  # sees zeros beyond the edge
  np.testing.assert_allclose(channels_last(padded[:, 8:-8, 8:-8]), theirs, atol=1e-6)
  edge = ops.blur(x, jnp.float32(o["hp_sigma"]), by)
  taps = np.exp(-(np.arange(-1, 2.0) ** 2) / (2 * o["hp_sigma"] ** 2))
  taps = taps / taps.sum()
  corner = taps[1:] @ o["in_image"][:2, :2, 0] @ taps[1:]
  assert edge[0, 0, 0] == pytest.approx(corner, abs=1e-6)


def test_saturation_of_hsv_stops_at_full_colour():
  x = planes(np.array([[[0.8, 0.4, 0.6], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]]))
  y = channels_last(ops.saturate(x, jnp.float32(4.0)))
  expected = [[0.8, 0.0, 0.4], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]  # of 1/2 would be 2
  np.testing.assert_allclose(y[0], expected, atol=1e-6)


def test_simclrs_centre_crop_is_resized_without_antialias():
  o = oracle("14_simclr_tf_aug_0")
  x = np.uint8(np.round(255 * o["in_image"]))
  # 7/8 of the shorter side are 17.5 pixels, rounded to 18, from row 3 and column 1.
  box = [jnp.float32(b) for b in (3, 1, 18, 18)]
  by = LIBRARIES["simclr"]
  y = crop_resize(jnp.asarray(x), box, False, 16, "bicubic", by)
  theirs = np.clip(o["out_center_crop"], 0, 1)
  np.testing.assert_allclose(channels_last(y), theirs, atol=0.8 * LEVEL)
  other = crop_resize(jnp.asarray(x), box, False, 16, "bicubic")
  assert np.abs(channels_last(other) - theirs).max() > 4 * LEVEL


def test_blur_is_torchvisions():
  o = oracle("14_tv_blur_0")
  x = blur(planes(o["in_image"]), jnp.float32(o["hp_sigma"]))
  np.testing.assert_allclose(channels_last(x), o["out_blur"], atol=1e-6)


def test_with_its_reach_a_small_picture_s_blur_is_pillow_s():
  """A dot's variance is that asked for, where SimCLR's rule cuts at four pixels."""
  dot = np.zeros((96, 96), np.uint8)
  dot[48, 48] = 255
  row = np.asarray(Image.fromarray(dot).filter(ImageFilter.GaussianBlur(2.0)), float)
  row = row.sum(0) / row.sum()
  reach = augment.RECIPES["dino"].local.blur_reach
  assert reach == augment.RECIPES["swav"].local.blur_reach
  x = jnp.zeros((3, 96, 96)).at[:, 48, 48].set(1.0)
  far = np.asarray(ops.blur(x, jnp.float32(2.0), reach=reach))[0].sum(0)
  near = np.asarray(ops.blur(x, jnp.float32(2.0)))[0].sum(0)
  variance = [r @ (np.arange(96) - 48) ** 2 for r in (row, far, near)]
  assert variance[1] == pytest.approx(4.0, rel=0.03)
  assert variance[1] == pytest.approx(variance[0], rel=0.1)
  assert variance[2] < 3.5


def test_erasing_puts_noise_into_one_box_of_the_share_timm_draws():
  u = np.random.default_rng(0).random((200, ops.BOX_DRAWS), np.float32)
  noise = np.random.default_rng(1).normal(size=(3, 64, 64)).astype(np.float32)
  x = np.zeros((3, 64, 64), np.float32)
  y = np.asarray(jax.jit(jax.vmap(ops.erase, (None, 0, None)))(x, u, noise))
  erased = (y != 0).all(1)
  for mask, picture in zip(erased, y, strict=True):
    rows, columns = mask.any(1), mask.any(0)
    np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
    high, wide = rows.sum(), columns.sum()
    assert 0.018 < high * wide / 64**2 < 0.36  # whole pixels
    assert 0.25 < high / wide < 4
    expected = np.where(mask, 0.45 + 0.225 * noise, 0)
    np.testing.assert_allclose(picture, expected, atol=1e-6)
  shares = erased.mean((1, 2))
  assert abs(shares.mean() - (0.02 + 1 / 3) / 2) < 0.02


def test_blur_has_23_taps_at_224_pixels_and_none_where_it_is_switched_off():
  dot = jnp.zeros((3, 224, 224)).at[:, 100, 100].set(1.0)
  x = np.asarray(blur(dot, jnp.float32(2.0)))[0]
  taps = np.exp(-(np.arange(-11, 12) ** 2) / 8)
  taps = taps / taps.sum()
  np.testing.assert_allclose(x[89:112, 89:112], np.outer(taps, taps), atol=1e-7)
  assert np.count_nonzero(x) == 23 * 23
  off = blur(dot, jnp.float32(NO_BLUR))
  np.testing.assert_array_equal(np.asarray(off), np.asarray(dot))


def test_boxes_are_torchvisions_for_its_draws():
  o = oracle("14_tv_rrc_params_0")
  draws = o["in_draws"]
  kind, low, high, value = np.moveaxis(draws, 2, 0)
  u = np.zeros((len(draws), ops.BOX_DRAWS), np.float32)
  for row in range(len(draws)):
    real = (value - low)[row, kind[row] == 0] / (high - low)[row, kind[row] == 0]
    u[row, : len(real) // 2] = real[::2]
    u[row, ops.ATTEMPTS : ops.ATTEMPTS + len(real) // 2] = real[1::2]
    whole = kind[row] == 1
    if whole.any():
      u[row, -2:] = (value[row, whole] + 0.5) / high[row, whole]
  height, width = int(o["hp_H"]), int(o["hp_W"])
  scale = tuple(o["hp_scale"].tolist())
  box = jax.jit(
    jax.vmap(lambda u: ops.crop_box(u, scale, height, width, jnp.float32(1.5)))
  )
  np.testing.assert_array_equal(np.stack(box(u), 1), o["out_boxes"])


def torchvision_box(rng, width, height, scale):
  """RandomResizedCrop's law in NumPy -> width, height."""
  for _ in range(10):
    area = width * height * rng.uniform(*scale)
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      return w, h
  ratio = min(max(width / height, 3 / 4), 4 / 3)
  return min(width, round(height * ratio)), min(height, round(width / ratio))


@pytest.mark.parametrize("aspect", [1.0, 0.5, 2.5])
def test_crops_of_a_squeezed_picture_follow_the_law_of_the_picture(aspect):
  n, side, scale = 4000, 512, (0.2, 1.0)
  u = jax.random.uniform(jax.random.key(1), (n, ops.BOX_DRAWS))
  box = jax.jit(jax.vmap(lambda u, a: ops.crop_box(u, scale, side, side, a), (0, None)))
  top, left, h, w = np.stack(box(u, jnp.float32(aspect)))
  assert (top >= 0).all()
  assert (left >= 0).all()
  assert (top + h <= side).all()
  assert (left + w <= side).all()
  rng = np.random.default_rng(2)
  width, height = round(side * aspect), side
  expected = [torchvision_box(rng, width, height, scale) for _ in range(n)]
  expected = np.array(expected) / (width, height)
  for ours, theirs in zip((w / side, h / side), expected.T, strict=True):
    quantiles = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(
      np.quantile(ours, quantiles), np.quantile(theirs, quantiles), atol=0.025
    )
  free = (w < side) & (h < side)
  assert abs((left / np.maximum(side - w, 1))[free].mean() - 0.5) < 0.03


@pytest.mark.parametrize(
  ("file", "convert"),
  [("Lab_0", ops.rgb_to_lab), ("YCbCr_1", ops.rgb_to_ycbcr)],
)
def test_colour_spaces_are_scikit_images(file, convert):
  o = oracle(f"10_cmc_color_{file}")
  x = jax.jit(convert)(planes(o["in_rgb"] * np.float32(LEVEL)))
  np.testing.assert_allclose(channels_last(x), o["out_converted"], atol=3e-4)


def test_black_white_and_grays_have_no_colour():
  x = jnp.broadcast_to(jnp.array([0.0, 0.2, 1.0])[None, None], (3, 1, 3))
  lightness, a, b = ops.rgb_to_lab(x)
  np.testing.assert_allclose(lightness[0, ::2], [0, 100], atol=1e-3)
  np.testing.assert_allclose(np.stack([a, b]), 0, atol=0.02)  # D65 has five digits
  luma, cb, cr = ops.rgb_to_ycbcr(x)
  np.testing.assert_allclose(luma[0, ::2], [16, 235], atol=1e-3)
  np.testing.assert_allclose(np.stack([cb, cr]), 128, atol=1e-3)
