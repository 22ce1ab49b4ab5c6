"""A protocol by one command: a checkpoint, an evaluator and its numbers -> a result.

Results lie as JSON in the run's folder, one file a protocol, where its report finds
them.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ssljax import (
  encoder,
  evals,
  fields,
  figures,
  html,
  provenance,
  recipe,
  runs,
  sharding,
)
from ssljax.evals import geometry
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import Count, Number, Range
from ssljax.judge import pictures
from ssljax.judge.rows import compare
from ssljax.protocols import dense, embed, transfer
from ssljax.protocols.apart import APART
from ssljax.protocols.case import Case
from ssljax.protocols.zero_shot import zero_shot
from ssljax.runs import compiled, upload
from ssljax.runs.writer import aloud

SOURCE = "ssljax/protocols/evaluate.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """The fields of a protocol's config that are in no group."""

  evaluator: str  # what is asked, one of PROTOCOLS
  protocol: str  # the result's name; "": the evaluator's
  checkpoint: str  # a run's folder
  step: Number  # of its checkpoint; 0: the newest


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithTruth:
  """The group `data` of pictures with a truth for each pixel; "": the run's own."""

  name: str = ""
  dir: str = ""
  train_split: str = ""
  eval_split: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(WithTruth):
  """The group `data`: what differs from the run's own; "": nothing."""

  prepared: str = ""
  lossy: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedOn(Data):
  """The group `data` of a protocol that trains."""

  held_out: Annotated[float, Range(0, below=1)] = 0.0  # share that heads are chosen on
  per_class: Number = 0  # labels of each class to learn from; 0: all


@upload.returned()
def evaluate(config: ConfigDict, folder: str | pathlib.Path | None = None) -> dict:
  """Runs one protocol on one checkpoint: prints and returns {row: {name: value}}.

  `checkpoint` is a run's folder, `step` that of its checkpoint (0: the newest).
  `evaluator` is what is asked, with the numbers in the group of that name. `protocol`
  names the result, default: as the evaluator. It is written, with all that it depends
  on, to `folder`/<protocol>.json, where an earlier step or other data stand in the
  name as well; default: `checkpoint`/evals. "embed" and "pictures" write files and give
  no result; those in APART are no question about one checkpoint.
  """
  if config.evaluator in APART:
    return APART[config.evaluator].evaluate(config, folder)
  sharding.start_processes()
  check(config)
  aloud(compiled.keep())
  run, mesh = fields.as_path(config.checkpoint), sharding.make_mesh()
  trained = encoder.restore(run, mesh, config.step)
  opens = dense.OPENS.get(config.evaluator, recipe.open_data)
  folder = fields.as_path(folder or run / "evals")
  case = Case(config, run, folder, mesh, trained, opens)
  runs.check_writable(case.folder)
  with runs.writing(run), runs.writing(case.folder):
    return answer(case)


def answer(case: Case) -> dict:
  """Runs the protocol of a case -> {row: {name: value}}, also written to a file."""
  config = case.config
  try:
    outcome = PROTOCOLS[config.evaluator](case, **case.numbers)
  except ValueError as error:  # of numbers that the data refuse
    raise ConfigError(str(error)) from error
  if outcome is None:
    return {}
  name = outcome.pop("name", "") or case.result_name(outcome)
  result = {
    "protocol": config.protocol or config.evaluator,
    "evaluator": config.evaluator,
    "checkpoint": str(case.run),
    "step": int(case.trained.state.step),
    "seed": case.trained.config.seed,
    "identity": case.identity,
    **({} if case.is_own is None else {"own_data": case.is_own}),
    **outcome,
  }
  write(result, case.folder, name)
  return result["results"]


def check(config: ConfigDict) -> None:
  """Raises ConfigError on fields that a protocol lacks, and without a checkpoint."""
  for group in declare(config):
    fields.check(group, fields.at(config, group.path))
  if config.evaluator not in APART and not config.checkpoint:
    raise ConfigError(
      "config.checkpoint is empty; name a run's folder: --config.checkpoint=runs/..."
    )


def declare(config: ConfigDict) -> list[Group]:
  """Lists every group of a protocol's config with the fields that may stand there."""
  name = config.get("evaluator")
  if name in APART:
    return APART[name].declare(config)
  fields.check_choice("evaluator", name, PROTOCOLS)
  ungrouped = Group("", "the config", fields.declared(Protocol))
  groups = [
    fields.with_groups(ungrouped, ("data", *PROTOCOLS), SOURCE),
    Group("data", "data", fields.declared(DATA.get(name, Data))),
  ]
  if name == "training":
    try:
      run = recipe.declare_training(config.training)
    except ConfigError as error:  # of what decides which fields there are
      raise ConfigError(f"training.{error}") from error
    return groups + [g._replace(path=f"training.{g.path}".rstrip(".")) for g in run]
  if name in config:
    numbers = fields.declared(*NUMBERS.get(name, (PROTOCOLS[name],)))
    groups.append(Group(name, name, numbers))
  return groups


def frozen(case: Case, **numbers) -> dict[str, Any]:
  """Judges frozen features by an evaluator, beside the input and a random encoder."""
  name = case.config.evaluator
  judge = case.judge(labels=name not in evals.UNLABELLED)
  rows, _ = compare(judge, case.states(), *BESIDE.get(name, ()), name)
  return case.found(rows, **judge.used[name])


def training(case: Case, **numbers) -> dict[str, Any]:
  """Trains a linear probe or fine-tunes, as a run of its own; `numbers`: its fields."""
  case.judge()
  c = transfer.compose(case.config.training, case.run, case.trained, case.own_data)
  splits = recipe.open_data(c)
  if word := transfer.shrink(c, len(splits.train), case.mesh.size):
    case.say(word)
  identity = provenance.identify(splits)
  start = case.trained.identity
  name = case.distinct_name(
    {**transfer.question(c, start), "identity": identity},
    lambda name: transfer.answered(case.folder / name, start),
  )
  return {"name": name, **transfer.learn(c, case.folder / name, case.mesh, start)}


def progress(case: Case, *, k: Count = 10) -> dict[str, Any]:
  """Judges every checkpoint that the run kept: kNN, RankMe, and what changed between.

  "agreement" is that of the test split's `k` nearest neighbours with those of the
  checkpoint before, in %, over at most 5000 pictures. Without labels there is no kNN.
  """
  rows, previous = {}, None
  for step in encoder.steps(case.run):
    trained = encoder.restore(case.run, case.mesh, step)
    judge = case.judge(trained, labels=False)
    features = judge.features(trained.state, "trained encoder")
    chosen = np.random.default_rng(0).permutation(len(features.test_x))[: geometry.MOST]
    x = features.test_x[chosen]
    if k >= len(x):
      k, before_k = len(x) - 1, k
      case.say(f"progress.k={before_k}: each has {k} neighbours; it is {k} now.")
    scores = judge.scores(features, *(("knn",) if judge.possible else ()))
    scores["rankme"] = geometry.rankme(features.test_x)
    if previous is not None and k:
      scores["agreement"] = geometry.agreement(previous, x, k)
    rows[f"step {step}"], previous = scores, x
  numbers = {"agreement": {"k": k}, "knn": judge.used.get("knn", {})}
  return {**case.found(rows), "numbers": numbers}


def embedded(case: Case, **numbers) -> None:
  """Writes features of every picture to files for other tools (see `embed.write`)."""
  judge, files = case.judge(labels=False, splits=case.splits), embed.Files(**numbers)
  path = embed.write(judge, case.trained.state, case.rests_on, case.folder, files)
  if jax.process_index() == 0:
    print(f"written to {path}")


def pictured(case: Case, *, shown: Count = 8, neighbours: Count = 8) -> dict[str, Any]:
  """Draws what the encoder sees into the run's report (see `pictures`).

  In a folder of their own, beside the JSON that says of which checkpoint and data they
  are: those of the run's end stay as they were.
  """
  judge = case.judge(labels=False)
  rows = {judge.raw: None, **case.states()}
  features = {row: judge.features(state, row) for row, state in rows.items()}
  *_, (state, last) = zip(rows.values(), features.values(), strict=True)
  question = {"numbers": {"shown": shown, "neighbours": neighbours}, **case.found({})}
  name = case.result_name(question)
  folder = case.folder / name
  pictures.draw_method(judge, state, folder)
  pictures.draw(judge, state, last, folder, shown=shown, neighbours=neighbours)
  pictures.draw_more(features, folder)
  return {"name": name, **case.found({})}


BESIDE = {"attentive": ("linear",)}  # asked with an evaluator, for its table
PROTOCOLS: dict[str, Callable] = {
  **dict.fromkeys(evals.EVALUATORS, frozen),
  "zero_shot": zero_shot,
  "training": training,
  "progress": progress,
  "embed": embedded,
  "pictures": pictured,
  "segment": dense.segment,
  "depth": dense.depth,
}
NUMBERS = {  # who takes them; else as above
  **{name: (evaluate,) for name, evaluate in evals.EVALUATORS.items()},
  **dense.NUMBERS,
  "embed": (embed.Files,),
}
DATA = {"training": TrainedOn, **dict.fromkeys(dense.OPENS, WithTruth)}


def write(result: dict[str, Any], folder: pathlib.Path, name: str) -> None:
  """Writes `folder`/<name>.json, prints the table, renews the report; process 0."""
  if jax.process_index():
    return
  if result["results"]:
    print(figures.table(result["results"]))
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{name}.json"
  runs.write(path, json.dumps(result, indent=2, default=_plain) + "\n")
  print(f"written to {path}")
  run = pathlib.Path(result["checkpoint"])
  judged = [run] if folder == run / "evals" else []
  for workdir in (folder / name, *judged):  # what was trained is a run too
    if (workdir / "config.json").exists():
      print(f"the report of {workdir.name}: {html.write(workdir)}")


def _plain(value: Any) -> Any:
  return value.to_dict() if isinstance(value, ConfigDict) else list(value)
