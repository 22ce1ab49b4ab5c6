"""How much of what an encoder gets right is left when its pictures are corrupted."""

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np

from ssljax import fields
from ssljax.evals import knn, linear
from ssljax.evals.corruptions import CORRUPTIONS, change
from ssljax.evals.features import FeatureSet, accuracy
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, OneOf, Positive, Range

CLASSIFIERS = ("knn", "linear")


@fields.checked("robustness")
def evaluate(
  features: FeatureSet,
  *,
  by: Annotated[str, OneOf(CLASSIFIERS)] = "knn",
  corruptions: Sequence[Annotated[str, OneOf(CORRUPTIONS)]] = (),
  severities: Sequence[Annotated[int, Range(1, 5)]] = (1, 2, 3, 4, 5),
  k: Count = 20,
  temperature: Positive = 0.07,
) -> dict[str, float]:
  """Measures % right on corrupted test pictures, learned from clean train features.

  -> {"clean", "corrupted": the mean of what follows, a corruption's name: its mean over
  `severities`, ..., "kept": corrupted in % of clean}. Hendrycks and Dietterich (2019),
  with accuracies as they are where the paper divides errors by AlexNet's. `corruptions`
  are some of `ssljax.evals.corruptions`; (): all. `by` whom: "knn" of `k` and
  `temperature`, or "linear".
  """
  if features.look is None:
    raise ConfigError(
      "robustness corrupts pictures, and this encoder's input is none; leave the "
      "evaluator robustness out"
    )
  if not severities:
    raise ConfigError("severities=() must name some of 1, 2, 3, 4, 5")
  changes = {
    name: [change(name, severity) for severity in severities]
    for name in corruptions or CORRUPTIONS
  }
  if by == "knn":
    scores = _nearest(features, k, temperature)
  else:
    scores = _linear(features)
  right = {
    name: np.mean([accuracy(scores(features.look(c)), features.test_y) for c in looks])
    for name, looks in changes.items()
  }
  clean = accuracy(scores(features.test_x), features.test_y)
  corrupted = float(np.mean(list(right.values())))
  return {
    "clean": clean,
    "corrupted": corrupted,
    **{name: float(value) for name, value in right.items()},
    "kept": 100 * corrupted / max(clean, 1e-9),
  }


def _nearest(features: FeatureSet, k: int, temperature: float) -> Callable:
  """Makes the map of features [M,D] to kNN scores [M,C]."""
  numbers = {"k": k, "temperature": temperature}
  return lambda x: knn.votes(features._replace(test_x=x), **numbers)


def _linear(features: FeatureSet) -> Callable:
  """Makes the map of features [M,D] to scores [M,C] of softmax regression."""
  standardise = linear.standardiser(features.train_x)
  x, y = standardise(features.train_x), features.train_y
  l2 = linear.choose_l2(x, y, features.num_classes)
  weights = linear.fit(x, y, l2, features.num_classes)
  return lambda x: linear.logits(weights, standardise(x))
