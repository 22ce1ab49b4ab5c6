"""How good a frozen encoder is. An evaluator maps a `FeatureSet` to {name: value}."""

from ssljax.evals import (
  classifier,
  copies,
  few_label,
  geometry,
  knn,
  linear,
  retrieval,
  robustness,
)

EVALUATORS = {
  "classifier": classifier.evaluate,
  "knn": knn.evaluate,
  "linear": linear.evaluate,
  "few_label": few_label.evaluate,
  "retrieval": retrieval.evaluate,
  "geometry": geometry.evaluate,
  "copies": copies.evaluate,
  "robustness": robustness.evaluate,
}
