import functools
import itertools
import math
import re

import jax
import numpy as np
import pytest
from PIL import Image

from ssljax import augment, sharding
from ssljax.augment import image as ops
from ssljax.augment import views
from tests.oracle_file import oracle

LEVEL = 1 / 255


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


def test_flip_gray_and_solarize_happen_as_often_as_their_probability():
  n = 1024
  picture = pictures(1, 8)[0]
  config = {"recipe": "instdisc", "size": 8, "crop_min": 1.0, "jitter_p": 0.0}
  config |= {"flip": 0.5, "gray_p": 0.2, "gray_first": False, "solarize_p": 0.3}
  views = jax.jit(augment.build(config, normalise=False))
  batch = {"image": np.stack(n * [picture]), "index": np.arange(n, dtype=np.int32)}
  x = np.asarray(views(jax.random.key(0), batch)["image"][:, 0])
  counts = {}
  for flip, gray, solar in itertools.product((False, True), repeat=3):
    y = picture[:, ::-1] * LEVEL if flip else picture * LEVEL
    y = np.repeat((y @ ops.LUMA)[..., None], 3, axis=2) if gray else y
    y = np.where(y >= 0.5, 1 - y, y) if solar else y
    counts[flip, gray, solar] = (np.abs(x - y).max((1, 2, 3)) < 1e-4).sum()
  assert sum(counts.values()) == n
  for place, p in enumerate((0.5, 0.2, 0.3)):
    share = sum(c for key, c in counts.items() if key[place]) / n
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_erasing_happens_as_often_as_its_probability_and_leaves_the_rest():
  n = 512
  plain = {"recipe": "supervised", "size": 16}
  batch = {"image": pictures(n, 16), "index": np.arange(n, dtype=np.int32)}
  key = jax.random.key(0)
  x, y = (
    jax.jit(augment.build({**plain, "erase_p": p}, normalise=False))(key, batch)
    for p in (0.0, 0.25)
  )
  changed = np.asarray(jax.numpy.abs(x["image"] - y["image"]).max((1, 4)) > 1e-6)
  share = changed.any((1, 2)).mean()
  assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / n)
  assert changed.mean() < 0.36 * share + 0.01


def test_jitter_draws_from_one_plus_minus_its_strength():
  view = augment.View(jitter=(0.8, 0.4, 1.5, 0.2), jitter_p=0.8)
  low, high = (view.jitter_amounts(np.full(4, u, np.float32), True) for u in (0.0, 1.0))
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


@pytest.mark.parametrize("recipe", ["eval", "instdisc", "dino"])
def test_views_of_a_picture_in_a_canvas_are_those_of_the_picture(recipe):
  """Nothing of what lies around it is seen."""
  picture = np.random.default_rng(1).integers(0, 256, (2, 30, 40, 3), np.uint8)
  canvas = pictures(2, 48)
  canvas[:, :30, :40] = picture
  config = {"recipe": recipe, "size": 24}
  draw, key = jax.jit(augment.build(config)), jax.random.key(0)
  index = np.arange(2, dtype=np.int32)
  alone = draw(key, {"image": picture, "index": index})
  extent = np.array(2 * [(30, 40)], np.int32)
  inside = draw(key, {"image": canvas, "index": index, "extent": extent})
  for name in {"image", "local"} & alone.keys():
    np.testing.assert_allclose(inside[name], alone[name], atol=1e-5)


def test_a_whole_picture_is_what_its_canvas_has_in_use():
  canvas = pictures(2, 16)
  extent = np.array([(8, 16), (16, 16)], np.int32)
  aspect = np.array([3, 0.5], np.float32)
  batch = {"image": canvas, "extent": extent, "aspect": aspect, "label": aspect}
  out = jax.jit(functools.partial(views.whole, size=16))(batch)
  assert out.keys() == {"image", "aspect", "label"}
  np.testing.assert_array_equal(out["image"][1], canvas[1])
  picture = Image.fromarray(canvas[0, :8]).resize((16, 16), Image.Resampling.BILINEAR)
  assert np.abs(np.int32(out["image"][0]) - np.asarray(picture)).max() <= 1
  np.testing.assert_array_equal(out["aspect"], aspect)
  filled = {"image": canvas, "index": np.arange(2)}
  np.testing.assert_array_equal(views.whole(filled, 16)["image"], canvas)


def test_evaluation_sees_224_pixels_out_of_256():
  assert augment.seen_size({"recipe": "byol", "size": 224}, 0.875) == 256
  assert augment.seen_size({"recipe": "simclr", "size": 32}, 1.0) == 32


@pytest.mark.parametrize("recipe", ["eval", "instdisc"])
def test_a_banner_narrower_than_a_pixel_still_gives_a_picture(recipe):
  config = {"recipe": recipe, "size": 8}
  batch = batch_of(2, 8) | {"aspect": np.array([1e-3, 1e3], np.float32)}
  x = jax.jit(augment.build(config))(jax.random.key(0), batch)["image"]
  assert np.isfinite(x).all()


def test_recipes_hold_the_papers_numbers():
  def numbers(v):
    crop = v.size, v.crop_min, v.crop_max, v.interpolation
    return (*crop, v.jitter, v.jitter_p, v.gray_p, v.blur_p, v.solarize_p)

  moco_v1 = (224, 0.2, 1, "bilinear", (0.4, 0.4, 0.4, 0.4), 1, 0.2, 0, 0)
  moco_v2 = (224, 0.2, 1, "bilinear", (0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5, 0)
  simclr = (224, 0.08, 1, "bicubic", (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, 0)
  swav = ("bilinear", (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, 0)
  weak = ((0.4, 0.4, 0.2, 0.1), 0.8, 0.2)
  crop = ((0.4, 0.4, 0.4, 0.4), 0, 0, 0, 0)  # and flip, no more
  byol, dino = (224, 0.08, 1, "bicubic", *weak), (224, 0.4, 1, "bicubic", *weak)
  expected = {
    "instdisc": [moco_v1],
    "cmc": [(224, 0.2, 1, "bilinear", *crop)],
    "moco_v1": [moco_v1, moco_v1],
    "moco_v2": [moco_v2, moco_v2],
    "simclr": [simclr, simclr],
    "byol": [(*byol, 1, 0), (*byol, 0.1, 0.2)],
    "swav": 2 * [(224, 0.14, 1, *swav)],
    "dino": [(*dino, 1, 0), (*dino, 0.1, 0.2)],
    "mae": [(224, 0.2, 1, "bicubic", *crop)],
  }
  for name, each in expected.items():
    recipe = augment.RECIPES[name]
    assert [numbers(v) for v in recipe.views] == each
    assert all(v.flip == 0.5 for v in recipe.views)
  dino = augment.RECIPES["dino"]
  assert dino.local_views == 8
  assert numbers(dino.local) == (96, 0.05, 0.4, "bicubic", *weak, 0.5, 0)
  multi = augment.RECIPES["swav"]
  assert (multi.local_views, multi.std) == (6, (0.228, 0.224, 0.225))
  assert numbers(multi.local) == (96, 0.05, 0.14, *swav)


def test_an_override_reaches_every_view_and_local_ones_have_their_own_size():
  config = {"recipe": "dino", "size": 32, "crop_min": 0.3, "gray_p": 0.1}
  config |= {"local_size": 16, "local_crop_max": 0.3, "local_views": 6}
  recipe = augment.configure(config | {"std": (0.228, 0.224, 0.225)})
  assert [(v.size, v.crop_min, v.gray_p) for v in recipe.views] == 2 * [(32, 0.3, 0.1)]
  local = recipe.local
  assert (local.size, local.crop_min, local.crop_max, local.gray_p) == (
    (16, 0.05, 0.3, 0.1)
  )
  assert (recipe.local_views, recipe.std) == (6, (0.228, 0.224, 0.225))


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    ({"recipe": "simclear"}, "augment.recipe='simclear' must be one of "),
    (
      {"recipe": "byol", "blurp": 1},
      "'byol' has no field blurp=1; it has recipe, size",
    ),
    (
      {"recipe": "eval", "flip": 0.5},
      "flip=0.5; it has recipe, size, crop, interpolation, ops, colour, mean",
    ),
    (
      {"recipe": "simclr", "local_views": 2},
      "augment.recipe='simclr' has no field local_views=2",
    ),
    (
      {"recipe": "simclr", "interpolation": "cubic"},
      "interpolation='cubic' must be one of bilinear, bicubic",
    ),
    ({"recipe": "simclr", "jitter": (0.4, 0.4)}, "must be a tuple of 4"),
    (
      {"recipe": "simclr", "crop_min": 0.0},
      "crop_min=0.0 must be more than 0",
    ),
    (
      {"recipe": "eval", "crop": 224},
      "augment.crop=224 must be more than 0",
    ),
  ],
)
def test_a_wrong_number_is_named_before_anything_compiles(config, sentence):
  with pytest.raises(ValueError, match=re.escape(sentence)):
    augment.build(config)


def test_a_window_is_a_stretch_of_the_recording_wherever_it_may_begin():
  ramp = np.tile(np.arange(100, dtype=np.int16)[None], (64, 1))
  batch = {
    "audio": ramp,
    "length": np.full(64, 50, np.int32),
    "index": np.arange(64, dtype=np.int32),
  }
  views = augment.build({"recipe": "audio", "size": 20})
  audio = 32768 * views(jax.random.key(0), batch)["audio"]
  assert audio.shape == (64, 1, 20)
  starts = np.asarray(audio[:, 0, 0])
  np.testing.assert_array_equal(audio[:, 0], starts[:, None] + np.arange(20)[None])
  assert (starts.min(), starts.max()) == (0, 30)
  config = augment.evaluation({"recipe": "audio", "size": 20}, crop=0.875)
  audio = augment.build(config)(jax.random.key(0), batch)["audio"]
  np.testing.assert_array_equal(32768 * audio[:, 0, 0], 15)


def test_silence_follows_a_recording_that_is_too_short():
  batch = {"audio": np.ones((1, 8), np.int16), "index": np.zeros(1, np.int32)}
  views = augment.build({"recipe": "audio", "size": 12})
  audio = 32768 * views(jax.random.key(0), batch)["audio"]
  np.testing.assert_array_equal(audio, [[[1] * 8 + [0] * 4]])


def test_a_view_in_lab_is_the_rgb_view_converted_and_normalised():
  config = {"recipe": "cmc", "size": 12}
  batch = batch_of(3, 16)
  rgb = augment.build(config, normalise=False)(jax.random.key(1), batch)["image"]
  ours = augment.build(config)(jax.random.key(1), batch)["image"]
  o = oracle("10_cmc_color_Lab_0")
  assert augment.RECIPES["cmc"].mean == pytest.approx(o["hp_mean"])
  assert augment.RECIPES["cmc"].std == pytest.approx(o["hp_std"])
  for x, y in zip(np.asarray(rgb[:, 0]), np.asarray(ours[:, 0]), strict=True):
    lab = np.moveaxis(np.asarray(ops.rgb_to_lab(np.moveaxis(x, 2, 0))), 0, 2)
    np.testing.assert_allclose(y, (lab - o["hp_mean"]) / o["hp_std"], atol=1e-4)


def test_ycbcr_is_normalised_by_the_official_ranges():
  o = oracle("10_cmc_color_YCbCr_1")
  recipe = augment.RECIPES["cmc_ycbcr"]
  assert recipe.mean == pytest.approx(o["hp_mean"])
  assert recipe.std == pytest.approx(o["hp_std"])
  whole = {"recipe": "cmc_ycbcr", "size": 12, "crop_min": 1.0, "flip": 0.0}
  side = {"image": o["in_rgb"][None, :10], "index": np.zeros(1, np.int32)}
  x = augment.build(whole | {"size": 10})(jax.random.key(0), side)["image"][0, 0]
  expected = np.moveaxis(o["out_normalized"], 0, 2)[:10]
  np.testing.assert_allclose(x, expected, atol=1e-4)


def test_evaluation_sees_the_colours_of_training():
  config = {"recipe": "cmc", "size": 8}
  evaluated = augment.configure(augment.evaluation(config, 1.0))
  trained = augment.configure(config)
  for name in ("colour", "mean", "std"):
    assert getattr(evaluated, name) == getattr(trained, name)


def test_evaluation_resizes_as_the_views_do_unless_told_otherwise():
  def resized(config, **fields):
    view = augment.configure(augment.evaluation(config, 1.0, **fields)).views[0]
    return view.interpolation, view.ops

  assert resized({"recipe": "moco_v2"}) == ("bilinear", "torchvision")
  assert resized({"recipe": "dino"}) == ("bicubic", "torchvision")
  assert resized({"recipe": "simclr", "ops": "simclr"}) == ("bicubic", "simclr")
  assert resized({"recipe": "byol", "interpolation": "bilinear"})[0] == "bilinear"
  assert resized({"recipe": "byol"}, interpolation="bilinear")[0] == "bilinear"


def test_pictures_may_have_other_channels_than_three():
  """Each channel is cropped as the others are, and normalised by its own numbers."""
  mean, std = (0.0, 0.1, 0.2, 0.3, 0.4), (1.0, 0.5, 0.5, 0.5, 0.25)
  config = {"recipe": "cmc", "size": 8, "colour": "rgb", "mean": mean, "std": std}
  batch = batch_of(2, 16)
  deep = np.concatenate([batch["image"], batch["image"][..., :2]], 3)
  x = augment.build(config)(jax.random.key(0), {**batch, "image": deep})["image"]
  plain = config | {"mean": (0.0,), "std": (1.0,)}
  y = augment.build(plain)(jax.random.key(0), batch)["image"]
  expected = (np.concatenate([y, y[..., :2]], 4) - np.float32(mean)) / np.float32(std)
  np.testing.assert_allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    ({"recipe": "cmc"}, "augment.mean=.* pictures' 5 channels"),
    ({"recipe": "cmc", "mean": (0,), "std": (1,)}, "colour='lab', .* have 5 channels"),
    ({"recipe": "moco_v2", "mean": (0,), "std": (1,)}, "jitter_p .* have 5 channels"),
    (
      {"recipe": "cmc", "colour": "hsv"},
      "augment.colour='hsv' must be one of rgb, ",
    ),
  ],
)
def test_colours_need_red_green_and_blue(config, sentence):
  batch = {"image": np.zeros((1, 4, 4, 5), np.uint8), "index": np.zeros(1, np.int32)}
  with pytest.raises(ValueError, match=sentence):
    augment.build({"size": 4, **config})(jax.random.key(0), batch)
