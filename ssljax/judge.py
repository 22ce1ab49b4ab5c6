"""How good an encoder is: during a run, at its end, and from a checkpoint."""

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import data, dispatch, encoder, evals, fields, figures, recipe, sharding
from ssljax.core import TrainState
from ssljax.data import Splits
from ssljax.evals import classifier, features
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
    self.method = parts.method
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
    scores, _ = self.classified(state) or (None, None)
    return seen._replace(test_scores=scores)

  def classified(self, state: TrainState) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores [M,C] and labels [M] of the evaluation split, on every process.

    None where the method does not classify.
    """
    test = self.splits.eval
    blank = data.zeros(test.spec(self.config.data.size), self.config.batch_size)
    if jax.eval_shape(self._classify, state, blank) is None:
      return None
    batches = self._batches(test)
    return features.extract(lambda b: self._classify(state, b), batches, self.mesh)

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


def zero_shot(
  judge: Judge,
  states: dict[str, TrainState],
  run: pathlib.Path,
  *,
  templates: Sequence[str],
  names: str = "",
) -> dict[str, Scores]:
  """Each of `states` by what the names of the classes mean to it.

  A class is said in every one of `templates`. `names` is a file with a name a line,
  in the order of the labels; default: the data's own.
  """
  tokenizer, known = data.Tokenizer.load(run), judge.splits.train.class_names
  if names:
    file = pathlib.Path(names).expanduser()
    known = file.read_text("utf-8").splitlines() if file.is_file() else ()
    if len(known) != judge.num_classes:
      raise ConfigError(
        f"zero_shot.names={names!r} must be a file of {judge.num_classes} lines, one "
        f"for each class, and has {len(known)}"
      )
  elif all(re.fullmatch(r"n\d{8}", name) for name in known):
    raise ConfigError(
      f"the classes of data.name={judge.config.data.name} are called {known[0]} and so "
      "on, which says nothing; write their names, one a line, into a file: "
      "--config.zero_shot.names=names.txt"
    )
  prompts = data.prompts(tokenizer, known, templates)
  name_classes = jax.jit(judge.method.name_classes)
  rows = {}
  for row, state in states.items():
    named = name_classes(state.replace(opt_state=None), prompts)
    if (classified := judge.classified(named)) is None:
      raise ConfigError(
        f"checkpoint={str(run)!r} is of a method to which names of classes mean "
        "nothing; give a run that learned pictures from captions"
      )
    rows[row] = classifier.accuracies(*classified)
  return rows


def evaluate(config: ConfigDict, folder: str | pathlib.Path | None = None) -> dict:
  """The config of an offline evaluation: `checkpoint` (a workdir) and `evaluator`.

  Prints and returns {row: {name: value}}, and writes it with its protocol to
  `folder`/<evaluator>.json; default: `checkpoint`/evals.
  """
  sharding.start_processes()
  known = {**evals.EVALUATORS, "zero_shot": zero_shot}
  groups = ("data", *known)
  fields.check_names("the config", config, ("evaluator", "checkpoint", *groups))
  fields.check_names("data", config.data, DATA)
  if not config.checkpoint:
    raise ConfigError(
      "config.checkpoint is empty; name a run's folder: --config.checkpoint=runs/..."
    )
  fields.check_choice("evaluator", config.evaluator, known)
  evaluator, run = known[config.evaluator], pathlib.Path(config.checkpoint)
  numbers = config.get(config.evaluator, {})
  fields.check_keywords(config.evaluator, numbers, evaluator)
  mesh = sharding.make_mesh()
  trained, parts, state, spec = encoder.restore(run, mesh)
  with trained.unlocked():
    trained.evals[config.evaluator] = ConfigDict(numbers)
    if config.data.name:  # the run's folder and splits are not those of other data
      trained.data.update(dir="", train_split="", eval_split="")
    for name in DATA:
      if config.data[name]:
        trained.data[name] = config.data[name]
  judge = Judge(trained, parts, recipe.open_data(trained, run), mesh)
  if not judge.possible:
    raise ConfigError(
      f"data.name={trained.data.name} has no labels or nothing to evaluate on; name a "
      "labelled data set with --config.data.name"
    )
  blank = data.zeros(spec, trained.batch_size)
  init = dispatch.compile_init(parts.init, blank, mesh)
  states = {"random encoder": init(), "trained encoder": state}
  with fields.config_errors():
    if evaluator is zero_shot:
      rows = zero_shot(judge, states, run, **numbers)
    else:
      rows, _ = compare(judge, states, config.evaluator)
  if jax.process_index() == 0:
    print(figures.table(rows))
    folder = pathlib.Path(folder or run / "evals")
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
