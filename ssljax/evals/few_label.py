"""Softmax regression from a handful of labels, averaged over which ones they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssljax import fields
from ssljax.evals import linear
from ssljax.evals.features import FeatureSet, accuracy, at_most
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Seed


@fields.checked("few_label")
def evaluate(
  features: FeatureSet,
  *,
  labels_per_class: Sequence[Count] = (1, 5, 20),
  draws: Count = 20,
  seed: Seed = 0,
) -> dict[str, float]:
  """Measures softmax regression of few labels -> {"few_label_5": %, "few_label_5_std"}.

  The mean top-1 over draws, and its deviation.

  All train features give the standardisation, the drawn ones alone train. Draws are a
  function of the seed and the train labels: encoders meet the same ones. The weight
  decay is 1 / number of labels, scikit-learn's C=1: no label is left to choose it.
  """
  features = linear.standardised(features)
  result = {}
  for n in labels_per_class:
    rng = np.random.default_rng((seed, n))
    scores = [_accuracy_of_one_draw(features, n, rng) for _ in range(draws)]
    result[f"few_label_{n}"] = float(np.mean(scores))
    result[f"few_label_{n}_std"] = float(np.std(scores))
  return result


def limits(train_y: np.ndarray, test_y: np.ndarray, numbers: Mapping[str, Any]):
  """Lowers the labels of each class to what the rarest has."""
  classes, counts = np.unique(train_y, return_counts=True)
  n, rarest = int(counts.min()), classes[counts.argmin()]
  why = f"class {rarest} has {n} training example{'s' * (n > 1)} with a label"
  yield "labels_per_class", at_most(numbers["labels_per_class"], n), why


def draw(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
  """Draws n random examples of each class present in labels [N] -> their positions."""
  classes, counts = np.unique(labels, return_counts=True)
  if n > counts.min():
    raise ConfigError(
      f"labels_per_class={n} is more than the {counts.min()} train examples of class "
      f"{classes[counts.argmin()]}; name at most {counts.min()}"
    )
  return np.concatenate(
    [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c in classes]
  )


def _accuracy_of_one_draw(features: FeatureSet, n: int, rng) -> float:
  rows = draw(features.train_y, n, rng)
  weights = linear.fit(
    features.train_x[rows],
    features.train_y[rows],
    1 / len(rows),
    features.num_classes,
  )
  return accuracy(linear.logits(weights, features.test_x), features.test_y)
