"""What few examples do not allow is lowered, and said."""

import numpy as np
import pytest

from ssljax import evals, fields
from ssljax.evals import geometry, linear
from ssljax.evals.features import FeatureSet

FOUR_EACH, ONE_EACH = np.arange(8) % 2, np.arange(2)
RARE = np.array([0, 0, 0, 0, 1])


@pytest.mark.parametrize(
  ("name", "numbers", "train_y", "test_y", "expected"),
  [
    ("knn", {"k": 200}, FOUR_EACH, ONE_EACH, {"k": 8}),
    ("knn", {"k": (10, 20)}, FOUR_EACH, ONE_EACH, {"k": (8,)}),
    ("knn", {"k": (5, 8, 9)}, FOUR_EACH, ONE_EACH, {"k": (5, 8)}),
    ("robustness", {}, FOUR_EACH, ONE_EACH, {"k": 8}),
    ("few_label", {}, FOUR_EACH, ONE_EACH, {"labels_per_class": (1,)}),
    (
      "few_label",
      {"labels_per_class": (5, 20)},
      RARE,
      ONE_EACH,
      {"labels_per_class": (1,)},
    ),
    ("retrieval", {"ks": (1, 5, 100)}, FOUR_EACH, FOUR_EACH, {"ks": (1, 5)}),
    ("retrieval", {}, FOUR_EACH, ONE_EACH, {"gallery": "train", "ks": (1, 5)}),
    ("copies", {}, FOUR_EACH, ONE_EACH, {"queries": 2}),
  ],
)
def test_a_number_too_large_is_lowered_and_said(
  name, numbers, train_y, test_y, expected
):
  fitted, words = evals.fit(name, numbers, train_y, test_y)
  assert fitted == numbers | expected
  assert len(words) == len(expected)
  for word, (field, value) in zip(words, expected.items(), strict=True):
    assert word.startswith(f"{name}.{field}=")
    assert repr(value) in word


def test_what_is_allowed_stays_without_a_word():
  numbers = {"k": (1, 8), "temperature": 0.1}
  assert evals.fit("knn", numbers, FOUR_EACH, ONE_EACH) == (numbers, [])
  assert evals.fit("linear", {}, RARE, ONE_EACH) == ({}, [])
  assert evals.fit("retrieval", {"ks": [1, 7]}, RARE, FOUR_EACH)[1] == []


def test_what_no_number_allows_is_refused():
  with pytest.raises(fields.ConfigError, match="the test split has 1"):
    evals.fit("geometry", {}, FOUR_EACH, np.array([0]))
  with pytest.raises(fields.ConfigError, match="another of its class"):
    evals.fit("retrieval", {}, np.zeros(4, int), np.array([1]))


def test_features_that_do_not_vary_give_numbers():
  x = np.ones((6, 4), np.float32)
  y = np.arange(6) % 2
  for value in (0.0, 1.0):
    same = value * x
    draw = lambda n, rows, x=same: np.repeat(x[:, None], n, 1)  # noqa: E731
    seen = FeatureSet(same, y, same, y, 2, draw=draw)
    for name in ("knn", "linear", "few_label", "retrieval", "geometry"):
      numbers, _ = evals.fit(name, {}, y, y)
      rows = evals.EVALUATORS[name](seen, **numbers)
      assert rows
      assert all(np.isfinite(v) for v in rows.values()), (name, rows)
  assert geometry.rankme(0 * x) == 0
  assert linear.choose_l2(x[:1], y[:1], 2) == linear.L2_GRID[0]
