"""How good an encoder is: during a run, at its end, and from a checkpoint."""

import json
import pathlib
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import data, dispatch, encoder, evals, fields, figures, recipe, sharding
from ssljax.core import TrainState
from ssljax.data import Splits
from ssljax.evals import features
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.recipe import Recipe

Scores = dict[str, float]
DATA = ("name", "dir", "train_split", "eval_split")  # of an evaluation's own data


class Judge:
  """Features of both splits under whatever state it is shown, and what they tell.

  They are extracted once for all evaluators of a moment.
  """

  def __init__(self, config: ConfigDict, parts: Recipe, splits: Splits, mesh: Mesh):
    """With fewer pictures than `evals.knn.k`, all of them vote.

    `possible` says whether there are labels, and pictures to evaluate on.
    """
    self.config, self.splits, self.mesh = config, splits, mesh
    self.num_classes = splits.train.num_classes
    self.raw, self._raw = features.RAW[parts.method.input]
    self._embed, self._classify = jax.jit(parts.embed), jax.jit(parts.classify)
    self.numbers = {name: dict(config.evals.get(name, {})) for name in evals.EVALUATORS}
    self.possible = self.num_classes > 0 and splits.eval is not None
    if self.possible and splits.eval[0]["label"] < 0:  # as in ImageNet's "test"
      logging.warning("%s has no labels: nothing will be evaluated", splits.eval.name)
      self.possible = False
    k, n = self.numbers["knn"].get("k", 0), len(splits.train)
    if self.possible and k > n:
      logging.warning("evals.knn.k=%d: there are %d pictures, so all vote", k, n)
      self.numbers["knn"]["k"] = n

  def features(self, state: TrainState | None) -> FeatureSet:
    """Both splits under `state`, on every process; None: the input itself, centred."""
    if state is None:
      return features.centred(self._collect(self._raw))
    state = state.replace(opt_state=None)
    seen = self._collect(lambda batch: self._embed(state, batch))
    size, test = self.config.data.size, self.splits.eval
    blank = data.zeros(test.spec(size), self.config.batch_size)
    if jax.eval_shape(self._classify, state, blank) is None:
      return seen
    scores, _ = features.extract(
      lambda batch: self._classify(state, batch), self._batches(test), self.mesh
    )
    return seen._replace(test_scores=scores)

  def scores(self, seen: FeatureSet, *names: str) -> Scores:
    """What the evaluators called `names` say, with the config's numbers for each."""
    return {
      key: value
      for name in names
      for key, value in evals.EVALUATORS[name](seen, **self.numbers[name]).items()
    }

  def _collect(self, embed) -> FeatureSet:
    batches = (self._batches(split) for split in self.splits)
    return features.collect(embed, *batches, self.num_classes, self.mesh)

  def _batches(self, source):
    c, devices = self.config, jax.device_count()
    return data.eval_batches(
      source,
      -(-c.batch_size // devices) * devices,
      size=c.data.size,
      in_memory=c.data.in_memory,
      workers=c.data.workers,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )


def compare(
  judge: Judge, states: dict[str, TrainState], *names: str
) -> tuple[dict[str, Scores], FeatureSet]:
  """The input itself, then each of `states`, under the evaluators called `names`.

  -> {row: {name: value}}, and the features of the last state. Pixels are centred by
  the mean train picture, as their row says: on CIFAR-10 that is worth ten points.
  """
  rows: dict[str, Scores] = {}
  for row, state in {judge.raw: None, **states}.items():
    seen = judge.features(state)
    rows[row] = judge.scores(seen, *names)
  return rows, seen


def evaluate(config: ConfigDict, folder: str | pathlib.Path | None = None) -> dict:
  """The config of an offline evaluation: `checkpoint` (a workdir) and `evaluator`.

  Prints and returns {row: {name: value}}, and writes it with its protocol to
  `folder`/<evaluator>.json; default: `checkpoint`/evals.
  """
  sharding.start_processes()
  groups = ("data", *evals.EVALUATORS)
  fields.check_names("the config", config, ("evaluator", "checkpoint", *groups))
  fields.check_names("data", config.data, DATA)
  if not config.checkpoint:
    raise ConfigError(
      "config.checkpoint is empty; name a run's folder: --config.checkpoint=runs/..."
    )
  fields.check_choice("evaluator", config.evaluator, evals.EVALUATORS)
  evaluator = evals.EVALUATORS[config.evaluator]
  numbers = config.get(config.evaluator, {})
  fields.check_keywords(config.evaluator, numbers, evaluator)
  mesh = sharding.make_mesh()
  trained, parts, state, spec = encoder.restore(config.checkpoint, mesh)
  with trained.unlocked():
    trained.evals[config.evaluator] = ConfigDict(numbers)
    if config.data.name:  # the run's folder and splits are not those of other data
      trained.data.update(dir="", train_split="", eval_split="")
    for name in DATA:
      if config.data[name]:
        trained.data[name] = config.data[name]
  judge = Judge(trained, parts, recipe.open_data(trained), mesh)
  if not judge.possible:
    raise ConfigError(
      f"data.name={trained.data.name} has no labels or nothing to evaluate on; name a "
      "labelled data set with --config.data.name"
    )
  blank = data.zeros(spec, trained.batch_size)
  init = dispatch.compile_init(parts.init, blank, mesh)
  states = {"random encoder": init(), "trained encoder": state}
  with fields.config_errors():
    rows, _ = compare(judge, states, config.evaluator)
  if jax.process_index() == 0:
    print(figures.table(rows))
    folder = pathlib.Path(folder or pathlib.Path(config.checkpoint) / "evals")
    folder.mkdir(parents=True, exist_ok=True)
    report = {
      "checkpoint": str(config.checkpoint),
      "step": int(state.step),
      "protocol": {config.evaluator: numbers},
      "data": trained.data.to_dict(),
      "seed": trained.seed,
      "results": rows,
    }
    path = folder / f"{config.evaluator}.json"
    path.write_text(json.dumps(report, indent=2, default=_plain) + "\n")
    print(f"written to {path}")
  return rows


def _plain(value: Any) -> Any:
  return value.to_dict() if isinstance(value, ConfigDict) else list(value)
