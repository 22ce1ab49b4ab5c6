import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from ssljax import augment, sharding
from ssljax import image as ops
from tests.oracle_file import oracle

LEVEL = 1 / 255
crop_resize = jax.jit(ops.crop_resize, static_argnums=(3, 4))
colour = jax.jit(ops.colour)
blur = jax.jit(ops.blur)
PLAIN = {"flip": 0.0, "jitter_p": 0.0, "gray_p": 0.0, "crop_min": 1.0}


def planes(image):
  return jnp.moveaxis(jnp.asarray(image, jnp.float32), 2, 0)


def channels_last(x):
  return np.moveaxis(np.asarray(x), 0, 2)


def pictures(n, side, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


def batch_of(n, side):
  aspect = np.linspace(0.5, 2, n, dtype=np.float32)
  return {
    "image": pictures(n, side),
    "aspect": aspect,
    "label": np.arange(n, dtype=np.int32),
    "index": np.arange(n, dtype=np.int32) * 7 + 3,
  }


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
  picture = 64 + pictures(1, 32)[0] // 2  # Pillow cuts overshoot between its two passes
  top, left, h, w = box
  kind = Image.Resampling[interpolation.upper()]
  pil = Image.fromarray(picture).crop((left, top, left + w, top + h))
  pil = pil.resize((size, size), kind).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  box = [jnp.float32(b) for b in box]
  x = crop_resize(jnp.asarray(picture), box, True, size, interpolation)
  np.testing.assert_allclose(
    channels_last(x), np.asarray(pil) * LEVEL, atol=1.01 * LEVEL
  )


@pytest.mark.parametrize(
  ("operation", "enhance"),
  [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.2, 1.0, 1.7])
def test_factors_of_colour_are_pillows(operation, enhance, factor):
  picture = pictures(1, 24)[0]
  pil = np.asarray(enhance(Image.fromarray(picture)).enhance(factor))
  x = colour(planes(picture * LEVEL), jnp.int32(operation), jnp.float32(factor))
  np.testing.assert_allclose(channels_last(x), pil * LEVEL, atol=1.5 * LEVEL)


def test_grey_and_solarized_pictures_are_pillows():
  o = oracle("14_pil_ops_0")
  x = planes(o["in_image"] * np.float32(LEVEL))
  grey = np.asarray(ops.luma(x))
  np.testing.assert_allclose(
    grey, o["out_grayscale"][:, :, 0] * LEVEL, atol=0.51 * LEVEL
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
    atol = (
      1e-5 if name in ("brightness", "hue") else 2e-4
    )  # luma .2989 there, .299 here
    np.testing.assert_allclose(channels_last(one), o[f"out_{name}"], atol=atol)
  for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
    result = jax.jit(ops.jitter)(x, jnp.array(order, jnp.int32), amounts)
    expected = o["out_order_" + "".join(map(str, order))]
    np.testing.assert_allclose(channels_last(result), expected, atol=4e-4)
  assert {tuple(p) for p in ops.ORDERS} == set(itertools.permutations(range(4)))


def test_blur_is_torchvisions():
  o = oracle("14_tv_blur_0")
  x = blur(planes(o["in_image"]), jnp.float32(o["hp_sigma"]))
  np.testing.assert_allclose(channels_last(x), o["out_blur"], atol=1e-6)


def test_blur_has_23_taps_at_224_pixels_and_none_where_it_is_switched_off():
  dot = jnp.zeros((3, 224, 224)).at[:, 100, 100].set(1.0)
  x = np.asarray(ops.blur(dot, jnp.float32(2.0)))[0]
  taps = np.exp(-(np.arange(-11, 12) ** 2) / 8)
  taps = taps / taps.sum()
  np.testing.assert_allclose(x[89:112, 89:112], np.outer(taps, taps), atol=1e-7)
  assert np.count_nonzero(x) == 23 * 23
  off = blur(dot, jnp.float32(augment.NO_BLUR))
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


def test_flip_grey_and_solarize_happen_as_often_as_their_probability():
  n = 1024
  picture = pictures(1, 8)[0]
  config = {**PLAIN, "recipe": "instdisc", "size": 8}
  config |= {"flip": 0.5, "gray_p": 0.2, "gray_first": False, "solarize_p": 0.3}
  views = jax.jit(augment.build(config, normalise=False))
  batch = {"image": np.stack(n * [picture]), "index": np.arange(n, dtype=np.int32)}
  x = np.asarray(views(jax.random.key(0), batch)["image"][:, 0])
  counts = {}
  for flip, grey, solar in itertools.product((False, True), repeat=3):
    y = picture[:, ::-1] * LEVEL if flip else picture * LEVEL
    y = np.repeat((y @ ops.LUMA)[..., None], 3, axis=2) if grey else y
    y = np.where(y >= 0.5, 1 - y, y) if solar else y
    counts[flip, grey, solar] = (np.abs(x - y).max((1, 2, 3)) < 1e-4).sum()
  assert sum(counts.values()) == n
  for place, p in enumerate((0.5, 0.2, 0.3)):
    share = sum(c for key, c in counts.items() if key[place]) / n
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_jitter_draws_from_one_plus_minus_its_strength():
  view = augment.View(jitter=(0.8, 0.4, 1.5, 0.2), jitter_p=0.8)
  low, high = (view.jitter_amounts(jnp.full(4, u), True) for u in (0.0, 1.0))
  np.testing.assert_allclose(low, [0.2, 0.6, 0.0, -0.2], atol=1e-6)
  np.testing.assert_allclose(high, [1.8, 1.4, 2.5, 0.2], atol=1e-6)
  np.testing.assert_array_equal(view.jitter_amounts(high, False), [1, 1, 1, 0])


@pytest.fixture(scope="module")
def small_dino():
  config = {"recipe": "dino", "size": 24, "local_size": 12, "local_views": 2}
  return augment.build(config)


def test_views_follow_their_example_when_the_batch_is_permuted(small_dino):
  views, key, batch = jax.jit(small_dino), jax.random.key(0), batch_of(8, 20)
  out = views(key, batch)
  assert out["image"].shape == (8, 2, 24, 24, 3)
  assert out["local"].shape == (8, 2, 12, 12, 3)
  np.testing.assert_array_equal(out["label"], batch["label"])
  order = np.random.default_rng(0).permutation(8)
  again = views(key, {k: v[order] for k, v in batch.items()})
  for name in ("image", "local"):
    np.testing.assert_array_equal(again[name], np.asarray(out[name])[order])
    x = np.asarray(out[name])
    assert not np.array_equal(x[:, 0], x[:, 1])
  assert not np.array_equal(out["image"], views(jax.random.key(1), batch)["image"])


def test_eight_devices_make_the_same_views_without_talking(small_dino):
  batch, key = batch_of(8, 20), jax.random.key(0)
  split = jax.device_put(batch, sharding.by_rows(sharding.make_mesh()))
  compiled = jax.jit(small_dino).lower(key, split).compile()
  talk = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
  assert not re.search(talk, compiled.as_text())
  out = compiled(key, split)
  assert len(out["image"].sharding.device_set) == 8
  one = jax.jit(small_dino)(key, batch)
  for name in ("image", "local"):  # XLA rounds differently for other batch shapes
    np.testing.assert_allclose(out[name], one[name], atol=1e-5)


def test_normalised_pictures_have_mean_and_std_of_the_config():
  mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
  config = {"recipe": "eval", "size": 8, "mean": mean, "std": std}
  batch = batch_of(2, 8)
  views = [augment.build(config, normalise=n) for n in (True, False)]
  x, raw = (jax.jit(v)(jax.random.key(0), batch)["image"] for v in views)
  np.testing.assert_allclose(x, (np.asarray(raw) - mean) / std, rtol=1e-5, atol=1e-5)


def test_evaluation_sees_the_middle_of_the_picture_in_its_true_shape():
  ramp = np.random.default_rng(0).integers(0, 256, (6, 12, 3), np.uint8)
  picture = Image.fromarray(ramp).resize((128, 64), Image.Resampling.BICUBIC)
  canvas = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR))
  batch = {
    "image": canvas[None],
    "aspect": np.array([2], np.float32),
    "index": np.zeros(1, np.int32),
  }
  config = {"recipe": "eval", "size": 16, "crop": 0.875}
  views = jax.jit(augment.build(config, normalise=False))
  x = np.asarray(views(jax.random.key(0), batch)["image"][0, 0])
  middle = picture.crop((36, 4, 92, 60)).resize((16, 16), Image.Resampling.BILINEAR)
  assert np.abs(x - np.asarray(middle) * LEVEL).mean() < LEVEL


def test_recipes_hold_the_papers_numbers():
  def numbers(v):
    crop = v.size, v.crop_min, v.crop_max, v.interpolation
    return (*crop, v.jitter, v.jitter_p, v.gray_p, v.blur_p, v.solarize_p)

  moco_v1 = (224, 0.2, 1, "bilinear", (0.4, 0.4, 0.4, 0.4), 1, 0.2, 0, 0)
  moco_v2 = (224, 0.2, 1, "bilinear", (0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5, 0)
  simclr = (224, 0.08, 1, "bicubic", (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, 0)
  weak = ((0.4, 0.4, 0.2, 0.1), 0.8, 0.2)
  byol, dino = (224, 0.08, 1, "bicubic", *weak), (224, 0.4, 1, "bicubic", *weak)
  expected = {
    "instdisc": [moco_v1],
    "moco_v1": [moco_v1, moco_v1],
    "moco_v2": [moco_v2, moco_v2],
    "simclr": [simclr, simclr],
    "byol": [(*byol, 1, 0), (*byol, 0.1, 0.2)],
    "dino": [(*dino, 1, 0), (*dino, 0.1, 0.2)],
  }
  for name, views in expected.items():
    recipe = augment.RECIPES[name]
    assert [numbers(v) for v in recipe.views] == views
    assert all(v.flip == 0.5 for v in recipe.views)
  dino = augment.RECIPES["dino"]
  assert dino.local_views == 8
  assert numbers(dino.local) == (96, 0.05, 0.4, "bicubic", *weak, 0.5, 0)


def test_an_override_reaches_every_view_and_local_ones_have_their_own_size():
  config = {"recipe": "dino", "size": 32, "crop_min": 0.3, "gray_p": 0.1}
  config |= {"local_size": 16, "local_crop_max": 0.3, "local_views": 6}
  recipe = augment.configure(config | {"std": [0.228, 0.224, 0.225]})
  assert [(v.size, v.crop_min, v.gray_p) for v in recipe.views] == 2 * [(32, 0.3, 0.1)]
  local = recipe.local
  assert (local.size, local.crop_min, local.crop_max, local.gray_p) == (
    (16, 0.05, 0.3, 0.1)
  )
  assert (recipe.local_views, recipe.std) == (6, (0.228, 0.224, 0.225))


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    ({"recipe": "simclear"}, "augment.recipe='simclear' is not known; choose from ins"),
    ({"recipe": "byol", "blurp": 1}, "augment.blurp=1 is not a number of the recipe"),
    ({"recipe": "eval", "flip": 0.5}, "choose from size, crop, interpolation, mean"),
    ({"recipe": "simclr", "local_views": 2}, "augment.local_views=2 is not a number"),
    ({"recipe": "simclr", "interpolation": "cubic"}, "choose from bilinear, bicubic"),
    ({"recipe": "simclr", "jitter": (0.4, 0.4)}, "must be four strengths"),
    ({"recipe": "simclr", "crop_min": 0.0}, "crop_min=0.0 to crop_max=1.0"),
    ({"recipe": "eval", "crop": 224}, "augment.crop=224 must be in 0..1"),
  ],
)
def test_a_wrong_number_is_named_before_anything_compiles(config, sentence):
  with pytest.raises(ValueError, match=re.escape(sentence)):
    augment.build(config)
