"""A protocol by one command: a checkpoint, an evaluator and its numbers -> a result.

Results lie as JSON in the run's folder, one file a protocol, where its report finds
them.
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from ssljax import data, dispatch, encoder, evals, fields, figures, recipe, sharding
from ssljax.core import TrainState
from ssljax.evals import classifier
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.judge import Judge, Scores, compare

DATA = ("name", "dir", "train_split", "eval_split")  # of an evaluation's own data
ARRAYS = ("train_x", "train_y", "test_x", "test_y", "test_scores")


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

  `step` is that of the checkpoint, 0 for the newest; `protocol` names the result,
  default: as the evaluator. Prints and returns {row: {name: value}}, and writes it
  with all that it depends on to `folder`/<protocol>.json; default: `checkpoint`/evals.
  """
  sharding.start_processes()
  evaluator, run = check(config)
  numbers = config.get(config.evaluator, {})
  mesh = sharding.make_mesh()
  trained, parts, state, spec, identity = encoder.restore(run, mesh, config.step)
  with trained.unlocked():
    trained.evals[config.evaluator] = ConfigDict(numbers)
    if config.data.name:  # the run's folder and splits are not those of other data
      trained.data.update(dir="", train_split="", eval_split="")
    for name in DATA:
      if config.data[name]:
        trained.data[name] = config.data[name]
  keep = Kept(run, {"checkpoint": identity, "data": trained.data.to_dict()})
  judge = Judge(trained, parts, recipe.open_data(trained, run), mesh, keep)
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
  result = {
    "protocol": config.protocol or config.evaluator,
    "evaluator": {config.evaluator: _plain(numbers)},
    "checkpoint": str(run),
    "step": int(state.step),
    "seed": trained.seed,
    "data": trained.data.to_dict(),
    "results": rows,
  }
  write(result, pathlib.Path(folder or run / "evals"))
  return rows


def check(config: ConfigDict) -> tuple[Callable, pathlib.Path]:
  """-> the evaluator, the run's folder; ConfigError on what no evaluation has."""
  known = {**evals.EVALUATORS, "zero_shot": zero_shot}
  groups = ("data", *known)
  fields.check_names(
    "the config", config, ("evaluator", "protocol", "checkpoint", "step", *groups)
  )
  fields.check_names("data", config.data, DATA)
  if not config.checkpoint:
    raise ConfigError(
      "config.checkpoint is empty; name a run's folder: --config.checkpoint=runs/..."
    )
  fields.check_choice("evaluator", config.evaluator, known)
  evaluator = known[config.evaluator]
  fields.check_keywords(config.evaluator, config.get(config.evaluator, {}), evaluator)
  return evaluator, pathlib.Path(config.checkpoint).expanduser()


class Kept:
  """Features on disk, in the run's folder: the next protocol need not extract them."""

  def __init__(self, run: pathlib.Path, identity: dict[str, Any]):
    """`identity` is all that they depend on, besides their row."""
    self.folder, self.identity = run / "evals" / "features", identity

  def __call__(self, row: str, make: Callable[[], FeatureSet]) -> FeatureSet:
    """As `make` gives them, or gave them before; the same on every process."""
    text = json.dumps({"row": row, **self.identity}, sort_keys=True, default=list)
    path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    there = multihost_utils.broadcast_one_to_all(np.asarray(path.exists()))
    if there:
      with np.load(path) as kept:
        return FeatureSet(
          num_classes=int(kept["num_classes"]),
          **{name: kept[name] for name in ARRAYS if name in kept},
        )
    seen = make()
    if jax.process_index() == 0:
      self.folder.mkdir(parents=True, exist_ok=True)
      arrays = {name: getattr(seen, name) for name in (*ARRAYS, "num_classes")}
      temporary = path.with_suffix(".tmp.npz")
      np.savez(temporary, **{k: v for k, v in arrays.items() if v is not None})
      temporary.replace(path)  # a half-written one is never taken
    return seen


def write(result: dict[str, Any], folder: pathlib.Path) -> None:
  """`folder`/<protocol>.json, and the table on the screen; on process 0."""
  if jax.process_index():
    return
  print(figures.table(result["results"]))
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{result['protocol']}.json"
  path.write_text(json.dumps(result, indent=2, default=_plain) + "\n")
  print(f"written to {path}")


def _plain(value: Any) -> Any:
  return value.to_dict() if isinstance(value, ConfigDict) else list(value)
