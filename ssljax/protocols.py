"""A protocol by one command: a checkpoint, an evaluator and its numbers -> a result.

Results lie as JSON in the run's folder, one file a protocol, where its report finds
them.
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import compare as side_by_side
from ssljax import (
  data,
  dispatch,
  embed,
  encoder,
  evals,
  fields,
  figures,
  html,
  pictures,
  recipe,
  sharding,
  transfer,
)
from ssljax.core import TrainState
from ssljax.encoder import Trained
from ssljax.evals import classifier, geometry
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.judge import Judge, Scores, compare

DATA = ("name", "dir", "train_split", "eval_split")  # of an evaluation's own data
TRAINED_ON = ("held_out", "per_class")  # of one that trains
ARRAYS = ("train_x", "train_y", "test_x", "test_y", "test_scores")


def evaluate(config: ConfigDict, folder: str | pathlib.Path | None = None) -> dict:
  """One protocol on one checkpoint: prints and returns {row: {name: value}}.

  `checkpoint` is a run's folder, `step` that of its checkpoint (0: the newest).
  `evaluator` is what is asked, with the numbers in the group of that name. `protocol`
  names the result, default: as the evaluator. It is written, with all that it depends
  on, to `folder`/<protocol>.json; default: `checkpoint`/evals. Two evaluators write
  files and give no result: "embed" and "pictures". "compare" lays runs side by side.
  """
  if config.evaluator == "compare":
    return side_by_side.evaluate(config, folder)
  sharding.start_processes()
  check(config)
  run = pathlib.Path(config.checkpoint).expanduser()
  mesh = sharding.make_mesh()
  trained = encoder.restore(run, mesh, config.step)
  name = config.protocol or config.evaluator
  case = Case(config, run, pathlib.Path(folder or run / "evals"), name, mesh, trained)
  with fields.config_errors():
    found = PROTOCOLS[config.evaluator](case, **case.numbers)
  if found is None:
    return {}
  result = {
    "protocol": name,
    "evaluator": config.evaluator,
    "checkpoint": str(run),
    "step": int(trained.state.step),
    "seed": trained.config.seed,
    **found,
  }
  write(result, case.folder)
  return result["results"]


def check(config: ConfigDict) -> None:
  """ConfigError on what no evaluation has."""
  names = "evaluator", "protocol", "checkpoint", "step", "data", *PROTOCOLS
  fields.check_names("the config", config, names)
  if not config.checkpoint:
    raise ConfigError(
      "config.checkpoint is empty; name a run's folder: --config.checkpoint=runs/..."
    )
  fields.check_choice("evaluator", config.evaluator, PROTOCOLS)
  trains = config.evaluator == "training"
  fields.check_names("data", config.data, (*DATA, *TRAINED_ON) if trains else DATA)
  if not trains:
    known = evals.EVALUATORS.get(config.evaluator, PROTOCOLS[config.evaluator])
    fields.check_keywords(config.evaluator, config.get(config.evaluator, {}), known)


class Case(NamedTuple):
  """What a protocol is asked about."""

  config: ConfigDict
  run: pathlib.Path
  folder: pathlib.Path  # for what it writes
  name: str  # of the protocol
  mesh: Mesh
  trained: Trained

  @property
  def numbers(self) -> dict[str, Any]:
    """The evaluator's own."""
    return dict(self.config.get(self.config.evaluator, {}))

  @property
  def own_data(self) -> dict[str, Any]:
    """What differs from the run's data; other data leave its folder and splits."""
    own = {k: v for k, v in self.config.data.items() if v}
    if "name" in own:
      return {"dir": "", "train_split": "", "eval_split": "", **own}
    return own

  def data(self) -> ConfigDict:
    """Of the run, with its own."""
    c = self.trained.config.data.copy_and_resolve_references().unlock()
    c.update(self.own_data)
    return c

  def judge(self) -> Judge:
    """Of the checkpoint, with the config's numbers; features are kept."""
    c = self.trained.config.copy_and_resolve_references().unlock()
    c.data = self.data()
    c.evals[self.config.evaluator] = ConfigDict(self.numbers)
    identity = {"checkpoint": self.trained.identity, "data": c.data.to_dict()}
    splits = recipe.open_data(c, self.run)
    return Judge(c, self.trained.parts, splits, self.mesh, Kept(self.run, identity))

  def states(self) -> dict[str, TrainState]:
    """The random encoder's and the trained one's."""
    config, parts, state, spec, *_ = self.trained
    blank = data.zeros(spec, config.batch_size)
    init = dispatch.compile_init(parts.init, blank, self.mesh)
    return {"random encoder": init(), "trained encoder": state}

  def found(self, rows: dict[str, Scores]) -> dict[str, Any]:
    """What a result holds of rows."""
    used = self.data().to_dict()
    return {"numbers": self.numbers, "data": used, "results": rows}


def labelled(judge: Judge) -> Judge:
  """The same; ConfigError where there is nothing to be right about."""
  if not judge.possible:
    raise ConfigError(
      f"data.name={judge.config.data.name} has no labels or nothing to evaluate on; "
      "name a labelled data set with --config.data.name"
    )
  return judge


def frozen(case: Case, **numbers) -> dict[str, Any]:
  """What an evaluator finds in frozen features, beside input and random encoder."""
  rows, _ = compare(labelled(case.judge()), case.states(), case.config.evaluator)
  return case.found(rows)


def training(case: Case, **numbers) -> dict[str, Any]:
  """A linear probe or fine-tuning, a run of its own; `numbers` are a run's fields."""
  c = transfer.compose(
    case.config.training, case.run, case.config.step, case.trained, case.own_data
  )
  return transfer.learn(c, case.folder / case.name, case.mesh)


def progress(case: Case, *, k: int = 10) -> dict[str, Any]:
  """Every checkpoint that the run kept: kNN, RankMe, and what changed in between.

  "agreement" is that of the test split's `k` nearest neighbours with those of the
  checkpoint before, in %.
  """
  rows, before = {}, None
  for step in encoder.steps(case.run):
    one = case._replace(trained=encoder.restore(case.run, case.mesh, step))
    judge = labelled(one.judge())
    seen = judge.features(one.trained.state, "trained encoder")
    x = seen.test_x[: geometry.MOST]
    scores = judge.scores(seen, "knn") | {"rankme": geometry.rankme(seen.test_x)}
    if before is not None:
      scores["agreement"] = geometry.agreement(before, x, k)
    rows[f"step {step}"], before = scores, x
  return case.found(rows)


def zero_shot(
  case: Case, *, templates: Sequence[str], names: str = ""
) -> dict[str, Any]:
  """What the names of the classes mean to a run that learned from captions.

  A class is said in every one of `templates`. `names` is a file with a name a line,
  in the order of the labels; default: the data's own.
  """
  judge = labelled(case.judge())
  tokenizer, known = data.Tokenizer.load(case.run), judge.splits.train.class_names
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
  for row, state in case.states().items():
    named = name_classes(state.replace(opt_state=None), prompts)
    if (classified := judge.classified(named)) is None:
      raise ConfigError(
        f"checkpoint={str(case.run)!r} is of a method to which names of classes mean "
        "nothing; give a run that learned pictures from captions"
      )
    rows[row] = classifier.accuracies(*classified)
  return case.found(rows)


def embedded(case: Case, *, format: str = "npz", rows: int = 4096) -> None:
  """Features of every picture, as a file that other tools read (see `embed.write`)."""
  identity = {"checkpoint": case.trained.identity, "data": case.data().to_dict()}
  judge, state = case.judge(), case.trained.state
  path = embed.write(judge, state, identity, case.folder, format=format, rows=rows)
  if jax.process_index() == 0:
    print(f"written to {path}")


def pictured(case: Case, *, shown: int = 8, neighbours: int = 8) -> None:
  """What the encoder sees, as pictures in the run's report (see `pictures`)."""
  judge = labelled(case.judge())
  rows = {judge.raw: None, **case.states()}
  seen = {row: judge.features(state, row) for row, state in rows.items()}
  *_, (state, last) = zip(rows.values(), seen.values(), strict=True)
  folder = case.run / "figures"
  numbers = {"shown": shown, "neighbours": neighbours}
  pictures.draw(judge, state, last, folder, **numbers)
  pictures.draw_more(seen, folder)
  if jax.process_index() == 0:
    print(f"the run's report: {html.write(case.run)}")


PROTOCOLS: dict[str, Callable] = {
  **dict.fromkeys(evals.EVALUATORS, frozen),
  "zero_shot": zero_shot,
  "training": training,
  "progress": progress,
  "embed": embedded,
  "pictures": pictured,
}


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
