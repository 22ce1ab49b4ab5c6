"""How good a frozen encoder is. An evaluator maps a `FeatureSet` to {name: value}.

What so few examples do not allow, its `limits` lower: they yield the field of a number,
what it becomes and why, and raise ConfigError where no number would do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssljax import fields
from ssljax.evals import (
  attentive,
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
  "attentive": attentive.evaluate,
  "few_label": few_label.evaluate,
  "retrieval": retrieval.evaluate,
  "geometry": geometry.evaluate,
  "copies": copies.evaluate,
  "robustness": robustness.evaluate,
}
UNLABELLED = ("geometry", "copies")  # which ask for no label
ON_PICTURES = ("attentive", "copies", "robustness")  # which look at them again
LIMITS = {
  "knn": knn.limits,
  "robustness": knn.limits,
  "few_label": few_label.limits,
  "retrieval": retrieval.limits,
  "geometry": geometry.limits,
  "copies": copies.limits,
}


def fit(
  name: str, numbers: Mapping[str, Any], train_y: np.ndarray, test_y: np.ndarray
) -> tuple[dict[str, Any], list[str]]:
  """Lowers an evaluator's numbers to what labels [N] and [M] allow -> numbers, words.

  A sentence for each that was lowered. ConfigError where there is nothing to ask.
  """
  parameters = fields.keywords(EVALUATORS[name])
  all_numbers = {
    k: p.default for k, p in parameters.items() if p.default is not p.empty
  }
  all_numbers |= numbers
  lowered, words = dict(numbers), []
  for field, value, why in LIMITS.get(name, _none)(train_y, test_y, all_numbers):
    configured = _plain(all_numbers[field])
    if value != configured:
      words.append(f"{name}.{field}={configured!r}: {why}; it is {value!r} now.")
      lowered[field] = value
  return lowered, words


def _none(*_) -> tuple:
  return ()


def _plain(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value
