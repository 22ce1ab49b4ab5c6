"""What an encoder that classifies by itself gets right."""

from ssljax.evals.features import FeatureSet, accuracy


def evaluate(features: FeatureSet) -> dict[str, float]:
  """-> {"accuracy": top-1 in %}, with more than five classes "accuracy_top5" too.

  {} for features that come without scores of the classes, such as raw pixels.
  """
  if features.test_scores is None:
    return {}
  result = {"accuracy": accuracy(features.test_scores, features.test_y)}
  if features.num_classes > 5:
    result["accuracy_top5"] = accuracy(features.test_scores, features.test_y, top=5)
  return result
