import numpy as np
import pytest

from ssljax.evals import features, few_label


def clusters(spread, n=40, num_classes=4, dim=8):
  rng = np.random.default_rng(0)
  labels = np.arange(2 * n * num_classes) % num_classes
  x = np.eye(num_classes, dim)[labels] + spread * rng.normal(size=(len(labels), dim))
  x, cut = x.astype(np.float32), n * num_classes
  return features.FeatureSet(x[:cut], labels[:cut], x[cut:], labels[cut:], num_classes)


def test_more_labels_give_more_accuracy_and_less_deviation():
  result = few_label.evaluate(clusters(0.5), labels_per_class=(1, 30), draws=10)
  assert 25 < result["few_label_1"] < result["few_label_30"]
  assert 0 < result["few_label_30_std"] < result["few_label_1_std"]


def test_the_draws_are_a_function_of_the_seed():
  data = clusters(0.5)
  cfg = {"labels_per_class": (2,), "draws": 3}
  assert few_label.evaluate(data, **cfg) == few_label.evaluate(data, **cfg)
  assert few_label.evaluate(data, **cfg) != few_label.evaluate(data, **cfg, seed=1)


def test_a_draw_holds_n_different_examples_of_each_class():
  labels = np.array([2, 0, 0, 2, 0, 2, 2, 0, 0])
  drawn = few_label.draw(labels, 3, np.random.default_rng(0))
  assert len(set(drawn)) == 6
  np.testing.assert_array_equal(np.bincount(labels[drawn]), [3, 0, 3])


def test_more_labels_than_the_smallest_class_has_is_named():
  labels = np.array([0, 0, 0, 1])
  match = "labels_per_class=2 is more than the 1 train examples of class 1"
  with pytest.raises(ValueError, match=match):
    few_label.draw(labels, 2, np.random.default_rng(0))
