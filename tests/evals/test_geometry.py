import numpy as np
import pytest

from ssljax.evals import geometry
from ssljax.evals.features import FeatureSet

RNG = np.random.default_rng(0)


def test_rankme_counts_the_directions_that_are_used():
  x = np.concatenate([np.eye(5), -np.eye(5)])
  assert geometry.rankme(x) == pytest.approx(5, rel=1e-5)
  line = np.outer(np.arange(1, 9), [1.0, 2.0, 3.0])
  assert geometry.rankme(line) == pytest.approx(1, rel=1e-4)
  # Two directions of strengths 3 and 1: entropy of (3/4, 1/4).
  p = np.array([0.75, 0.25])
  expected = np.exp(-np.sum(p * np.log(p)))
  assert geometry.rankme(np.diag([3.0, 1.0])) == pytest.approx(expected, rel=1e-5)


def test_uniformity_and_alignment_by_hand():
  x = np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
  squared = np.array([2.0, 4.0, 2.0])  # between (0, 1), (0, 2), (1, 2)
  expected = np.log(np.mean(np.exp(-2 * squared)))
  assert geometry.uniformity(x) == pytest.approx(expected)
  views = np.array([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 3.0], [1.0, 1.0]]])
  assert geometry.alignment(views) == pytest.approx((2 + 0) / 2, abs=1e-6)


def test_lidar_counts_what_tells_examples_apart():
  centres = 10 * RNG.normal(size=(200, 3))
  noise = 0.1 * RNG.normal(size=(200, 20, 6))
  x = noise + np.concatenate([centres, np.zeros((200, 3))], 1)[:, None]
  assert 2.5 < geometry.lidar(x) < 3.5  # of six directions three hold examples apart
  assert geometry.rankme(x.reshape(-1, 6)) > 3  # which does not know noise


def test_lidar_is_its_definition():
  x = RNG.normal(size=(30, 4, 5))
  mean = x.mean(1)
  between = sum(np.outer(m, m) for m in mean - mean.mean(0)) / 29
  within = sum(np.outer(d, d) for d in (x - mean[:, None]).reshape(-1, 5)) / 90
  within += 1e-4 * np.eye(5)
  values = np.linalg.eigvals(np.linalg.solve(within, between)).real
  shares = values / values.sum()
  expected = np.exp(-np.sum(shares * np.log(shares)))
  assert geometry.lidar(x) == pytest.approx(expected, rel=1e-4)


def test_the_spectrum_is_that_of_the_covariance():
  x = RNG.normal(size=(50, 4)) * [4, 3, 2, 1]
  expected = np.sort(np.linalg.eigvalsh(np.cov(x, rowvar=False, ddof=0)))[::-1]
  np.testing.assert_allclose(geometry.spectrum(x), expected, rtol=1e-9)


def test_neighbours_agree_with_themselves_and_by_chance_with_noise():
  x = RNG.normal(size=(101, 8))
  assert geometry.agreement(x, 3 * x, k=10) == 100
  assert geometry.agreement(x, RNG.normal(size=(101, 8)), k=10) < 20
  np.testing.assert_array_equal(
    geometry.neighbours(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1),
    [[1], [0], [1]],
  )


def test_views_are_asked_for_where_there_are_any():
  x = RNG.normal(size=(40, 4)).astype(np.float32)
  y = np.zeros(40, int)
  seen = FeatureSet(x, y, x, y, 1)
  assert geometry.evaluate(seen).keys() == {"rankme", "uniformity"}
  asked = []

  def draw(count, rows):
    asked.append(count)
    assert sorted(rows) == list(range(40))
    return x[:, None] + 0.1 * RNG.normal(size=(40, count, 4))

  result = geometry.evaluate(seen._replace(draw=draw), draws=3)
  assert asked == [3]
  assert result.keys() == {"rankme", "uniformity", "alignment", "lidar"}


def test_prototypes_that_are_nobody_s_best_are_not_used():
  x = RNG.normal(size=(5, 4)).astype(np.float32)
  seen = FeatureSet(x, np.zeros(5), x, np.zeros(5), 1)
  result = geometry.evaluate(
    seen._replace(assign=lambda: (np.int32([3, 0, 3, 1, 0]), 4))
  )
  assert result["prototypes_used"] == 75


def test_one_view_has_nothing_to_be_aligned_with():
  x = np.zeros((5, 4), np.float32)
  with pytest.raises(ValueError, match=r"geometry\.draws=1 must be at least 2"):
    geometry.evaluate(FeatureSet(x, np.zeros(5), x, np.zeros(5), 1), draws=1)
