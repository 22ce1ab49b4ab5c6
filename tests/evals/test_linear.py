import os

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from ssljax import data, sharding
from ssljax.data import tfds
from ssljax.evals import features, linear


@pytest.fixture(scope="module")
def digits():
  x, y = load_digits(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(x))
  x, y = x[order].astype(np.float32), y[order].astype(np.int32)
  return features.FeatureSet(x[:1437], y[:1437], x[1437:], y[1437:], 10)


def test_raw_digits_are_read_as_well_as_scikit_learn_reads_them(digits):
  result = linear.evaluate(digits)
  scaled = linear.standardised(digits)
  l2 = linear.choose_l2(scaled.train_x, scaled.train_y, 10)
  model = LogisticRegression(C=1 / (l2 * 1437), tol=1e-6, max_iter=1000)
  model.fit(scaled.train_x, scaled.train_y)
  theirs = 100 * model.score(scaled.test_x, scaled.test_y)
  assert abs(result["linear"] - theirs) < 0.5
  assert result["linear_top5"] > result["linear"]
  assert linear.evaluate(digits) == result


def test_raw_pixels_of_cifar_are_read_as_well_as_scikit_learn_reads_them():
  if "TFDS_DATA_DIR" not in os.environ:
    pytest.skip("TFDS_DATA_DIR names no prepared cifar10")
  splits = tfds.splits("cifar10", train_split="train[:500]", eval_split="test[:2000]")
  mesh = sharding.make_mesh(jax.devices()[:1])
  batches = (
    data.eval_batches(split, 500, size=32, in_memory=False, workers=2)
    for split in splits
  )
  raw = features.centred(features.collect(features.raw_pixels, *batches, 10, mesh))
  scaled = linear.standardised(raw)
  x, y = scaled.train_x, scaled.train_y
  scores = linear.logits(linear.fit(x, y, 1.0, 10), scaled.test_x)
  with threadpool_limits(1):  # the other core has other tests
    model = LogisticRegression(C=1 / len(x), max_iter=300).fit(x, y)
  theirs = 100 * model.score(scaled.test_x, scaled.test_y)
  assert abs(features.accuracy(scores, scaled.test_y) - theirs) < 0.5


def test_fit_finds_the_minimum_that_scikit_learn_finds(digits):
  x, y = linear.standardised(digits).train_x[:300], digits.train_y[:300]
  weights = linear.fit(x, y, 0.1, 10)
  model = LogisticRegression(C=1 / (0.1 * 300), tol=1e-8, max_iter=1000).fit(x, y)
  np.testing.assert_allclose(weights[:-1], model.coef_.T, atol=1e-3)
  bias = weights[-1] - weights[-1].mean()  # of all shifts scikit-learn's sums to 0
  np.testing.assert_allclose(bias, model.intercept_, atol=1e-3)


def test_starting_elsewhere_ends_at_the_same_place(digits):
  x, y = linear.standardised(digits).train_x[:300], digits.train_y[:300]
  cold = linear.fit(x, y, 0.1, 10)
  warm = linear.fit(x, y, 0.1, 10, start=linear.fit(x, y, 1.0, 10))
  np.testing.assert_allclose(warm[:-1], cold[:-1], atol=1e-3)


def test_among_equally_good_weight_decays_the_strongest_is_chosen(digits):
  x = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
  assert linear.choose_l2(x, np.arange(60) % 3, 3) == 1e-1
  scaled = linear.standardised(digits)
  assert linear.choose_l2(scaled.train_x, scaled.train_y, 10) < 1e-1


def test_standardised_uses_train_statistics_and_survives_constant_features():
  rng = np.random.default_rng(0)
  train = rng.normal(3, 2, (50, 3)).astype(np.float32)
  train[:, 1] = 5
  test = rng.normal(3, 2, (20, 3)).astype(np.float32)
  y = np.zeros(50, np.int32)
  found = linear.standardised(features.FeatureSet(train, y, test, y[:20], 1))
  np.testing.assert_allclose(found.train_x[:, 0].mean(), 0, atol=1e-5)
  np.testing.assert_allclose(found.train_x[:, 0].std(), 1, atol=1e-5)
  np.testing.assert_allclose(found.train_x[:, 1], 0, atol=1e-5)
  expected = (test[:, 2] - train[:, 2].mean()) / train[:, 2].std()
  np.testing.assert_allclose(found.test_x[:, 2], expected, rtol=1e-4)


def test_folds_are_probes_of_their_own(digits, tmp_path):
  """Numbers of the file are the publisher's, here three times the places."""
  places = np.random.default_rng(0).permutation(len(digits.train_y))
  listed = 3 * np.arange(len(places))
  parts = [places[:200], places[200:500], places[:450]]
  file = tmp_path / "folds.txt"
  file.write_text(
    "\n".join(" ".join(map(str, listed[part])) for part in parts) + "\n\n"
  )
  known = digits._replace(listed=lambda: listed)
  result = linear.evaluate(known, folds=str(file))
  rows = []
  for part in map(np.sort, parts):
    x, y = digits.train_x[part], digits.train_y[part]
    rows.append(linear.evaluate(digits._replace(train_x=x, train_y=y)))
  for name in ("linear", "linear_top5"):
    scores = [row[name] for row in rows]
    assert result[name] == pytest.approx(np.mean(scores))
    assert result[f"{name}_std"] == pytest.approx(np.std(scores))
  assert result["linear_std"] > 0


def test_of_a_fold_what_could_not_be_read_is_missing(digits, tmp_path):
  (tmp_path / "folds.txt").write_text(" ".join(map(str, range(300))))
  known = digits._replace(
    train_x=digits.train_x[1:],
    train_y=digits.train_y[1:],
    train_index=np.arange(1, 1437),
    listed=lambda: np.arange(1437),
  )
  fold = digits._replace(train_x=digits.train_x[1:300], train_y=digits.train_y[1:300])
  result = linear.evaluate(known, folds=str(tmp_path / "folds.txt"))
  assert result["linear"] == linear.evaluate(fold)["linear"]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "is empty; it needs a line for each fold"),
    ("1 2 x", "cannot be read: invalid literal"),
    ("1 5000", "1 of the 2 numbers of line 1 are none of the 1437 training examples"),
    ("1 2 3", "0 of the 3 numbers of line 1 .* the others are of [123] classes"),
    (None, "cannot be read: .*No such file"),
  ],
)
def test_a_file_that_holds_no_folds_of_these_data_is_named(
  digits, tmp_path, text, message
):
  file = tmp_path / "folds.txt"
  if text is not None:
    file.write_text(text)
  places = np.arange(1437)
  known = digits._replace(listed=lambda: places, train_index=places)
  with pytest.raises(ValueError, match=rf"linear\.folds='{file}'.*{message}"):
    linear.evaluate(known, folds=str(file))
