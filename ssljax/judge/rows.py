"""The rows of a table: the input itself, and states, by the same evaluators."""

from ssljax.core import TrainState
from ssljax.evals.features import FeatureSet
from ssljax.judge import Judge, Scores


def compare(
  judge: Judge, states: dict[str, TrainState], *names: str, forgiving: bool = False
) -> tuple[dict[str, Scores], FeatureSet]:
  """Judges the input itself, then each of `states`, by the evaluators called `names`.

  -> {row: {name: value}}, and the features of the last state. Pixels are centred by
  the mean train picture, as their row says: on CIFAR-10 that is worth ten points.
  """
  rows: dict[str, Scores] = {}
  for row, state in {judge.raw: None, **states}.items():
    feature_set = judge.features(state, row)
    rows[row] = judge.scores(feature_set, *names, forgiving=forgiving)
  return rows, feature_set
