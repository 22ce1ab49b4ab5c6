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
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import compare as side_by_side
from ssljax import (
  data,
  dispatch,
  encoder,
  evals,
  fields,
  figures,
  html,
  recipe,
  sharding,
  transfer,
)
from ssljax.core import TrainState
from ssljax.evals import classifier
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.judge import Judge, Scores, compare

DATA = ("name", "dir", "train_split", "eval_split")  # of an evaluation's own data
TRAINED_ON = ("held_out", "per_class")  # of one that trains
TRAINING = "training"
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
  """One protocol on one checkpoint: prints and returns {row: {name: value}}.

  `checkpoint` is a run's folder, `step` that of its checkpoint (0: the newest).
  `evaluator` is what is asked, with the numbers in the group of that name; "training"
  trains, with a run's own fields. `protocol` names the result, default: as the
  evaluator. It is written, with all that it depends on, to `folder`/<protocol>.json;
  default: `checkpoint`/evals. "compare" lays whole runs side by side.
  """
  if config.evaluator == "compare":
    return side_by_side.evaluate(config, folder)
  sharding.start_processes()
  check(config)
  run = pathlib.Path(config.checkpoint).expanduser()
  folder = pathlib.Path(folder or run / "evals")
  mesh = sharding.make_mesh()
  trained = encoder.restore(run, mesh, config.step)
  own_data = {k: v for k, v in config.data.items() if v}
  if "name" in own_data:  # the run's folder and splits are not those of other data
    own_data = {"dir": "", "train_split": "", "eval_split": "", **own_data}
  protocol = config.protocol or config.evaluator
  with fields.config_errors():
    if config.evaluator == TRAINING:
      own = transfer.compose(config[TRAINING], run, config.step, trained, own_data)
      found = transfer.learn(own, folder / protocol, mesh)
    else:
      found = ask(config, run, mesh, trained, own_data)
  result = {
    "protocol": protocol,
    "evaluator": config.evaluator,
    "checkpoint": str(run),
    "step": int(trained.state.step),
    "seed": trained.config.seed,
    **found,
  }
  write(result, folder)
  return result["results"]


def ask(
  config: ConfigDict,
  run: pathlib.Path,
  mesh: Mesh,
  trained: encoder.Trained,
  own_data: dict[str, Any],
) -> dict[str, Any]:
  """What an evaluator finds in frozen features -> {"data", "results"}."""
  c, parts, state, spec, _, identity = trained
  evaluator, numbers = known()[config.evaluator], config.get(config.evaluator, {})
  with c.unlocked():
    c.evals[config.evaluator] = ConfigDict(numbers)
    c.data.update(own_data)
  keep = Kept(run, {"checkpoint": identity, "data": c.data.to_dict()})
  judge = Judge(c, parts, recipe.open_data(c, run), mesh, keep)
  if not judge.possible:
    raise ConfigError(
      f"data.name={c.data.name} has no labels or nothing to evaluate on; name a "
      "labelled data set with --config.data.name"
    )
  init = dispatch.compile_init(parts.init, data.zeros(spec, c.batch_size), mesh)
  states = {"random encoder": init(), "trained encoder": state}
  if evaluator is zero_shot:
    rows = zero_shot(judge, states, run, **numbers)
  else:
    rows, _ = compare(judge, states, config.evaluator)
  return {"numbers": numbers, "data": c.data.to_dict(), "results": rows}


def known() -> dict[str, Callable]:
  """Every evaluator by its name in configs, save those that train."""
  return {**evals.EVALUATORS, "zero_shot": zero_shot}


def check(config: ConfigDict) -> None:
  """ConfigError on what no evaluation has."""
  groups = "data", TRAINING, *known()
  names = "evaluator", "protocol", "checkpoint", "step", *groups
  fields.check_names("the config", config, names)
  if not config.checkpoint:
    raise ConfigError(
      "config.checkpoint is empty; name a run's folder: --config.checkpoint=runs/..."
    )
  fields.check_choice("evaluator", config.evaluator, (*known(), TRAINING))
  if config.evaluator == TRAINING:
    fields.check_names("data", config.data, (*DATA, *TRAINED_ON))
  else:
    fields.check_names("data", config.data, DATA)
    numbers = config.get(config.evaluator, {})
    fields.check_keywords(config.evaluator, numbers, known()[config.evaluator])


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
  """`folder`/<protocol>.json, the table on the screen, the run's report; process 0."""
  if jax.process_index():
    return
  print(figures.table(result["results"]))
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{result['protocol']}.json"
  path.write_text(json.dumps(result, indent=2, default=_plain) + "\n")
  print(f"written to {path}")
  run = pathlib.Path(result["checkpoint"])
  if folder == run / "evals" and (run / "config.json").exists():
    print(f"the run's report: {html.write(run)}")


def _plain(value: Any) -> Any:
  return value.to_dict() if isinstance(value, ConfigDict) else list(value)
