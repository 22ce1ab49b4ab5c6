"""What an encoder that classifies by itself gets right."""

import numpy as np

from ssljax.evals.features import FeatureSet, accuracy


def evaluate(features: FeatureSet) -> dict[str, float]:
  """Scores a classifying encoder, as `accuracies`; {} without scores of classes.

  Raw pixels have none.
  """
  if features.test_scores is None:
    return {}
  return accuracies(features.test_scores, features.test_y)


def accuracies(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Measures scores [M,C] by labels [M] -> {"accuracy": %, "accuracy_top5": %}.

  Top-1 and, where C > 5, top-5, of the examples that have a label.
  """
  scores, labels = scores[labels >= 0], labels[labels >= 0]
  result = {"accuracy": accuracy(scores, labels)}
  if scores.shape[1] > 5:
    result["accuracy_top5"] = accuracy(scores, labels, top=5)
  return result
