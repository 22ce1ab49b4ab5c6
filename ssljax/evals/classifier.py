"""What an encoder that classifies by itself gets right."""

import numpy as np

from ssljax.evals.features import FeatureSet, accuracy


def evaluate(features: FeatureSet) -> dict[str, float]:
  """As `accuracies`; {} without scores of the classes, as raw pixels are."""
  if features.test_scores is None:
    return {}
  return accuracies(features.test_scores, features.test_y)


def accuracies(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Scores [M,C], labels [M] -> {"accuracy": top-1 in %}, "accuracy_top5" if C > 5.

  Of the examples that have a label.
  """
  scores, labels = scores[labels >= 0], labels[labels >= 0]
  result = {"accuracy": accuracy(scores, labels)}
  if scores.shape[1] > 5:
    result["accuracy_top5"] = accuracy(scores, labels, top=5)
  return result
