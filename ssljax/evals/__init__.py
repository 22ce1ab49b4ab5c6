"""How good a frozen encoder is. An evaluator maps a `FeatureSet` to {name: value}."""

from ssljax.evals import classifier, few_label, knn, linear

EVALUATORS = {
  "classifier": classifier.evaluate,
  "knn": knn.evaluate,
  "linear": linear.evaluate,
  "few_label": few_label.evaluate,
}
