import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.evals import robustness
from ssljax.evals.features import FeatureSet


def clusters(n=40, classes=4):
  rng = np.random.default_rng(0)
  y = np.arange(n) % classes
  x = (np.eye(classes)[y] + 0.01 * rng.normal(size=(n, classes))).astype(np.float32)
  return FeatureSet(x, y, x, y, classes)


@pytest.mark.parametrize("by", ["knn", "linear"])
def test_accuracies_are_averaged_over_severities_then_corruptions(by):
  seen, wrong = clusters(), iter([0, 8, 20, 40])

  def look(change):
    """Features of so many examples become those of another class."""
    n = next(wrong)
    return np.concatenate([np.roll(seen.test_x, 1, 0)[:n], seen.test_x[n:]])

  result = robustness.evaluate(
    seen._replace(look=look),
    by=by,
    corruptions=("fog", "jpeg"),
    severities=(1, 3),
    k=5,
  )
  expected = {"clean": 100, "fog": 90, "jpeg": 25, "corrupted": 57.5, "kept": 57.5}
  assert result == pytest.approx(expected)
  assert list(result) == ["clean", "corrupted", "fog", "jpeg", "kept"]


def test_pictures_that_go_dark_are_told_apart_no_more():
  rng = np.random.default_rng(0)
  y = np.arange(24) % 2
  images = rng.integers(100, 156, (24, 8, 8, 3)) + 40 * y[:, None, None, None]
  images = images.astype(np.uint8)

  def embed(images):
    return np.asarray(images, np.float32).reshape(24, -1) - 147

  def look(change):
    return embed(change(jax.random.split(jax.random.key(0), 24), jnp.asarray(images)))

  seen = FeatureSet(embed(images), y, embed(images), y, 2, look=look)
  result = robustness.evaluate(
    seen, corruptions=("contrast", "brightness"), severities=(5,), k=5
  )
  assert result["clean"] == result["contrast"] == 100
  assert result["brightness"] == 50
  assert result["kept"] == 75


def test_without_names_all_corruptions_are_made():
  seen = clusters()
  seen = seen._replace(look=lambda change: seen.test_x)
  result = robustness.evaluate(seen, k=1)
  assert len(result) == 3 + 14
  assert set(result.values()) == {100}


def test_what_cannot_be_is_named():
  seen = clusters()
  with pytest.raises(ValueError, match="this encoder's input is none"):
    robustness.evaluate(seen)
  seen = seen._replace(look=lambda change: seen.test_x)
  with pytest.raises(ValueError, match="by='svm' must be one of knn, linear"):
    robustness.evaluate(seen, by="svm")
  with pytest.raises(ValueError, match="'snow' must be one of "):
    robustness.evaluate(seen, corruptions=("snow",))
  with pytest.raises(
    ValueError, match=r"severities=\(\) must name some of 1, 2, 3, 4, 5"
  ):
    robustness.evaluate(seen, severities=())
