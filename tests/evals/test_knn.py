import numpy as np
import pytest

from ssljax.evals import features, knn
from ssljax.evals.features import FeatureSet
from tests.oracle_file import oracle


def brute_force(train_x, train_y, test_x, k, temperature, num_classes):
  train_x = train_x / np.linalg.norm(train_x, axis=1, keepdims=True)
  test_x = test_x / np.linalg.norm(test_x, axis=1, keepdims=True)
  votes = np.zeros((len(test_x), num_classes))
  for row, cosines in zip(votes, test_x @ train_x.T, strict=True):
    for i in np.argsort(-cosines, kind="stable")[:k]:
      row[train_y[i]] += np.exp((cosines[i] - 1) / temperature)
  return votes


def test_agrees_with_lemniscate_and_dino():
  o = oracle("08_knn_0")
  data = (o["in_train"], o["in_train_labels"], o["in_test"])
  temperature = float(o["hp_T"])
  votes = knn.weighted_knn(
    *data, k=int(o["hp_K"]), temperature=temperature, num_classes=10
  )
  expected = o["out_scores"] * np.exp(-1 / temperature)
  np.testing.assert_allclose(votes, expected, rtol=2e-5, atol=1e-12)
  np.testing.assert_array_equal(votes.argmax(1), o["out_pred"])
  np.testing.assert_array_equal(
    np.argsort(-votes, axis=1, kind="stable"), o["out_ranking"]
  )
  top1 = features.accuracy(votes, o["in_test_labels"])
  assert top1 == pytest.approx(100 * float(o["out_top1"]))
  nearest = knn.weighted_knn(*data, k=1, temperature=temperature, num_classes=10)
  top1 = features.accuracy(nearest, o["in_test_labels"])
  assert top1 == pytest.approx(100 * float(o["out_nn_top1"]))


def test_agrees_with_brute_force_when_the_chunks_do_not_divide_the_test(monkeypatch):
  rng = np.random.default_rng(0)
  train_x, test_x = rng.normal(size=(300, 16)), 7 * rng.normal(size=(50, 16))
  train_y = rng.integers(0, 7, 300)
  monkeypatch.setattr("ssljax.evals.features.SIMILARITIES", 300 * 12)
  votes = knn.weighted_knn(
    train_x, train_y, test_x, k=200, temperature=0.1, num_classes=7
  )
  expected = brute_force(train_x, train_y, test_x, 200, 0.1, 7)
  np.testing.assert_allclose(votes, expected, rtol=1e-4, atol=1e-9)


def test_several_k_are_each_of_them_alone():
  rng = np.random.default_rng(0)
  train_x, train_y = rng.normal(size=(60, 8)), rng.integers(0, 5, 60)
  test_x, test_y = rng.normal(size=(30, 8)), rng.integers(0, 5, 30)
  seen = features.FeatureSet(train_x, train_y, test_x, test_y, 5)
  result = knn.evaluate(seen, k=(20, 3), temperature=0.1)
  assert list(result) == ["knn_20", "knn_3"]
  for k in (3, 20):
    votes = brute_force(train_x, train_y, test_x, k, 0.1, 5)
    assert result[f"knn_{k}"] == features.accuracy(votes, test_y)
    assert result[f"knn_{k}"] == knn.evaluate(seen, k=k, temperature=0.1)["knn"]


def test_of_equally_similar_examples_the_earlier_is_the_neighbour():
  train_x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
  query = np.array([[0.0, 3.0]])
  votes = knn.weighted_knn(
    train_x, np.array([0, 2, 1]), query, k=1, temperature=0.07, num_classes=3
  )
  np.testing.assert_allclose(votes, [[0, 0, 1]], atol=1e-6)


def test_a_small_temperature_does_not_overflow():
  x = np.eye(4)
  votes = knn.weighted_knn(x, np.arange(4), x, k=2, temperature=0.001, num_classes=4)
  np.testing.assert_allclose(votes, np.eye(4), atol=1e-6)


@pytest.mark.parametrize("k", [0, 5])
def test_k_beyond_the_train_examples_is_named(k):
  x = np.eye(4)
  with pytest.raises(ValueError, match=f"k={k} must lie between 1 and the 4 train"):
    knn.weighted_knn(x, np.arange(4), x, k=k, temperature=0.07, num_classes=4)


def test_an_example_has_no_vote_on_itself_where_nothing_is_held_out():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
  places = rng.permutation(60)
  seen = FeatureSet(x, y, x, y, 3, train_index=places, test_index=places)
  assert knn.evaluate(seen, k=1) == {"knn": 100}
  votes = knn.votes(seen._replace(held_out=False), k=7, temperature=0.1)
  for row in range(60):
    others = np.arange(60) != row
    alone = knn.weighted_knn(
      x[others], y[others], x[row, None], k=7, temperature=0.1, num_classes=3
    )
    np.testing.assert_allclose(votes[row], alone[0], rtol=1e-5, atol=1e-7)
  all_votes = knn.votes(seen._replace(held_out=False), k=60, temperature=0.1)
  assert np.isfinite(all_votes).all()
