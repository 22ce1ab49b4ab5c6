import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.evals import copies
from ssljax.evals.features import FeatureSet


def pictures(count, side=32):
  rng = np.random.default_rng(0)
  cells = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
  return cells.repeat(side // 4, 1).repeat(side // 4, 2)


def edited(name, images):
  keys = jax.random.split(jax.random.key(0), len(images))
  return np.asarray(copies._change(keys, jnp.asarray(images), name=name))


def features(images):
  """An encoder that does nothing but flatten."""
  x = images.reshape(len(images), -1).astype(np.float32)
  y = np.zeros(len(x), np.int32)

  def look(change, rows):
    keys = jax.random.split(jax.random.key(0), len(images))
    seen = np.asarray(change(keys, jnp.asarray(images)), np.float32)
    return seen.reshape(len(x), -1)[rows]

  return FeatureSet(x, y, x, y, 1, look=look)


def test_a_rank_is_one_and_how_many_others_are_as_similar(monkeypatch):
  monkeypatch.setattr("ssljax.evals.features.SIMILARITIES", 8)  # two of the three
  originals = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 1]], np.float32)
  queries = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
  found = copies.ranks(originals, queries, np.array([0, 2, 3]))
  np.testing.assert_array_equal(found, [1, 4, 2])


def test_an_encoder_that_sees_nothing_finds_nothing():
  seen = features(pictures(20))
  seen = seen._replace(test_x=np.ones((20, 4), np.float32))
  seen = seen._replace(look=lambda change, rows: seen.test_x[rows])
  result = copies.evaluate(seen, edits=("crop",))
  expected = {"copy_map": 5, "copy_recall_1": 0, "copy_crop": 5}
  assert result == pytest.approx(expected)


def test_the_mean_is_over_edits_and_over_random_originals():
  seen = features(pictures(12))
  near = seen._replace(look=lambda change, rows: np.roll(seen.test_x, 1, 0)[rows])
  assert copies.evaluate(near, edits=("jpeg",), queries=5)["copy_recall_1"] == 0
  result = copies.evaluate(seen, edits=("light", "turned"))
  assert result["copy_light"] == 100 > result["copy_turned"]
  assert result["copy_map"] == pytest.approx((100 + result["copy_turned"]) / 2)


@pytest.mark.parametrize("name", copies.EDITS)
def test_an_edit_changes_a_picture_and_leaves_it_one(name):
  images = pictures(3)
  result = edited(name, images)
  assert result.dtype == np.uint8
  assert result.shape == images.shape
  assert all((a != b).mean() > 0.1 for a, b in zip(result, images, strict=True))


def test_a_strong_edit_changes_more_than_a_weak_one():
  images = pictures(4)
  for name in ("jpeg", "blur", "light"):
    weak, strong = (
      np.abs(edited(each, images).astype(float) - images).mean()
      for each in (name, f"{name}_strong")
    )
    assert weak < strong


def test_a_crop_is_a_part_enlarged():
  ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None] * 8, (32, 32, 3))
  for x in edited("crop", np.stack([ramp] * 3)).astype(float):
    inner = x[:, 2:-2, 0]  # at the frame's edges pixels repeat
    steps = np.diff(inner, axis=1)
    np.testing.assert_allclose(steps, 8 * np.sqrt(0.5), atol=1)
    assert x.min() >= 0
    assert x.max() <= 31 * 8


def test_a_turn_is_a_quarter_and_writing_covers_a_quarter():
  images = pictures(4)
  for x, result in zip(images, edited("turned", images), strict=True):
    assert any(np.array_equal(result, np.rot90(x, k)) for k in (1, 3))
  for x, result in zip(images, edited("written", images), strict=True):
    rows = np.flatnonzero((x != result).any((1, 2)))
    assert np.ptp(rows) + 1 == len(rows) == 8
    assert set(np.unique(result[rows])) == {0, 255}


def test_what_cannot_be_is_named():
  seen = features(pictures(3))
  with pytest.raises(ValueError, match=r"'crop_weak' must be one of crop, "):
    copies.evaluate(seen, edits=("crop_weak",))
  with pytest.raises(ValueError, match=r"copies\.queries=0 must be at least 1"):
    copies.evaluate(seen, queries=0)
  with pytest.raises(ValueError, match="this encoder's input is none"):
    copies.evaluate(seen._replace(look=None))
