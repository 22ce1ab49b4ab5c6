"""What a protocol is asked about: a checkpoint, data, and numbers."""

import dataclasses
import functools
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import data, provenance, recipe, sharding
from ssljax.core import TrainState
from ssljax.data import Splits
from ssljax.encoder import Trained
from ssljax.fields import ConfigError, flat
from ssljax.judge import Judge, Scores
from ssljax.protocols import embed
from ssljax.runs.writer import aloud
from ssljax.train import dispatch

TRAINED_ON = ("held_out", "per_class")  # of the data of a protocol that trains
PLACE = {"name", "dir", "train_split", "eval_split"}  # of data: what is read
# Where data lie, and how they are read.
NO_MATTER = ("dir", "prepared", "in_memory", "on_device", "workers")


@dataclasses.dataclass(frozen=True)
class Case:
  """A checkpoint, data and numbers that a protocol is asked about."""

  config: ConfigDict
  run: pathlib.Path
  folder: pathlib.Path  # for what it writes
  mesh: Mesh
  trained: Trained
  open_data: Callable[[ConfigDict, pathlib.Path], Splits] = recipe.open_data

  @property
  def name(self) -> str:
    """The name of the case's files: the protocol, and what a user asked for besides."""
    c = self.config
    words = [c.protocol or c.evaluator]
    if c.step:
      words.append(f"step{c.step}")
    words.append(c.data.name)
    if c.data.dir and not self.is_own:
      words.append(pathlib.Path(c.data.dir).name)
    words += [c.data[name] for name in ("train_split", "eval_split")]
    if c.data.get("per_class"):
      words.append(f"{c.data.per_class}_per_class")
    return _in_files("-".join(filter(None, words)))

  @property
  def numbers(self) -> dict[str, Any]:
    """The numbers of the case's own evaluator, as its config has them."""
    return dict(self.config.get(self.config.evaluator, {}))

  @property
  def own_data(self) -> dict[str, Any]:
    """The case's fields of data; another data set leaves the run's folder, splits.

    Wherever the case says what to read, it is not what the run's were prepared to.
    """
    changed = {k: v for k, v in self.config.data.items() if v}
    left = ("dir", "train_split", "eval_split") if "name" in changed else ()
    left += ("prepared",) if changed.keys() & PLACE else ()
    return {**dict.fromkeys(left, ""), **changed}

  def data(self) -> ConfigDict:
    """Returns the group `data` to judge on: the run's, with the case's own fields."""
    c = self.trained.config.data.copy_and_resolve_references().unlock()
    c.update({name: 0 for name in TRAINED_ON if name in c})
    c.update({k: v for k, v in self.own_data.items() if k not in TRAINED_ON})
    return c

  @functools.cached_property
  def splits(self) -> Splits:
    """The splits of the case's data, opened once for all that is asked."""
    c = ConfigDict({"data": self.data()})
    return self.open_data(c, self.run)

  @functools.cached_property
  def identity(self) -> provenance.Identities:
    """Which data the case is on (see `provenance.identify`)."""
    return provenance.identify(self.splits)

  @property
  def is_own(self) -> bool | None:
    """Whether the case's data is the run's, wherever it lies; None: nobody knows."""
    learned = self.trained.learned
    return not provenance.differences(learned, self.identity) if learned else None

  @property
  def rests_on(self) -> dict[str, Any]:
    """All that features depend on: the checkpoint, how data is read, which it is."""
    return {
      "checkpoint": self.trained.identity,
      "data": _read_as(self.data().to_dict()),
      "identity": self.identity,
    }

  @functools.cached_property
  def shown(self) -> Splits:
    """The splits to look at; the training split twice where none is held out."""
    if self.splits.eval:
      return self.splits
    train = self.splits.train
    self.say(f"{train.name} has nothing to evaluate on: all of it is looked at.")
    return Splits(train, train)

  @functools.cached_property
  def _said(self) -> set[str]:
    return set()

  def say(self, text: str) -> None:
    """Prints a line on the screen, once."""
    if text not in self._said:
      self._said.add(text)
      aloud(text)

  def judge(
    self,
    trained: Trained | None = None,
    *,
    labels: bool = True,
    splits: Splits | None = None,
    batch_size: int = 0,
    **reading,
  ) -> Judge:
    """Builds the judge of the checkpoint, or of another of the run's, as the case asks.

    Features are kept. ConfigError where there is nothing to be right about, unless
    no `labels` are asked for; then it is of what is `shown`, or of `splits`. It sees
    `batch_size` pictures at once, 0: as many as the run; `reading` are fields of data.
    """
    trained = trained or self.trained
    c = trained.config.copy_and_resolve_references().unlock()
    c.data, c.batch_size = self.data(), batch_size or c.batch_size
    c.data.update(reading)
    c.evals[self.config.evaluator] = ConfigDict(self.numbers)
    store = embed.Kept(self.run, {**self.rests_on, "checkpoint": trained.identity})
    splits = splits or (self.splits if labels else self.shown)
    judge = Judge(c, trained.parts, splits, self.mesh, store, self.say)
    if labels and not judge.possible:
      raise ConfigError(
        f"data.name={c.data.name}: {judge.why_not}; name a labelled data set with "
        "--config.data.name, or a part of it with --config.data.eval_split"
      )
    return judge

  def states(self) -> dict[str, TrainState]:
    """Returns the states of the random and of the trained encoder, by row."""
    config, parts, state, spec, *_ = self.trained
    blank = data.zeros(spec, config.batch_size)
    init = dispatch.compile_init(parts.init, blank, self.mesh)
    return {"random encoder": init(), "trained encoder": state}

  def found(self, rows: dict[str, Scores], **numbers) -> dict[str, Any]:
    """Builds a result's entries from its rows; `numbers`: those that were lowered."""
    used = {**self.numbers, **numbers}
    return {"numbers": used, "data": self.data().to_dict(), "results": rows}

  def result_name(self, question: Mapping[str, Any]) -> str:
    """Returns `name`, or a longer one where that file answers another question.

    `question` has the "numbers" and "data" of a result. What was found on other data or
    with other numbers is never overwritten, the same question is answered in place.
    """
    return self.distinct_name(
      question, lambda name: _read(self.folder / f"{name}.json")
    )

  def distinct_name(
    self,
    question: Mapping[str, Any],
    lookup: Callable[[str], Mapping[str, Any] | None],
  ) -> str:
    """Names a question's result, apart from what `lookup` finds under a name.

    One name on all processes. What is longer says what differs, or is a digest of all
    that is asked.
    """
    evaluator = self.config.evaluator
    question = {"evaluator": evaluator, "identity": self.identity, **question}
    names, stored = [self.name], lookup(self.name)
    if stored is not None and (unlike := _unlike(stored, question)):
      difference = "-".join(itertools.starmap(_said, unlike.items()))
      names = [
        f"{self.name}-{_in_files(x)}" for x in (difference[:60], _short(question))
      ]
    free = (n for n in names if (b := lookup(n)) is None or not _unlike(b, question))
    return sharding.told(next(free, names[-1]))


def _read(path: pathlib.Path) -> Any:
  try:
    return json.loads(path.read_text("utf-8")) if path.exists() else None
  except ValueError:
    return {}  # nothing of ours


def _unlike(stored: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
  """Finds in what two questions differ: {field: its value now}; {}: they are one."""
  old, new = _fields(stored), _fields(question)
  unlike = {k: new.get(k) for k in sorted(old | new) if old.get(k) != new.get(k)}
  if "identity" in stored:
    other_data = provenance.differences(stored["identity"], question["identity"])
  else:  # of an older ssljax, which says no more than the folder
    other_data = stored.get("data", {}).get("dir") != question["data"].get("dir")
  return {**unlike, "data": _short(question)} if other_data else unlike


def _fields(question: Mapping[str, Any]) -> dict[str, Any]:
  """Flattens a question: {"numbers.k": [5], ...}, without what changes nothing."""
  asked_fields = {k: question.get(k) for k in ("evaluator", "numbers")}
  asked_fields["data"] = _read_as(question.get("data", {}))
  asked_fields = json.loads(json.dumps(asked_fields, default=list))
  return {k: v for k, v in flat(asked_fields).items() if v not in (None, "", [], 0)}


def _read_as(data: Mapping[str, Any]) -> dict[str, Any]:
  """Takes of a group `data` what changes the numbers that are read."""
  fields = {k: v for k, v in data.items() if k not in NO_MATTER}
  if "lossy" in fields:  # of canvases alone: pictures are what they are
    fields["lossy"] = bool(data["lossy"] and data.get("prepared"))
  return fields


def _short(question: Mapping[str, Any]) -> str:
  identities = [data.lasting(identity) for identity in question["identity"].values()]
  return data.digest([sorted(_fields(question).items()), identities])[:6]


def _said(field: str, value: Any) -> str:
  """Writes a field for a file's name: ("numbers.k", [5, 10]) -> "k5_10"."""
  text = "_".join(map(str, value)) if isinstance(value, list) else str(value)
  return field.rpartition(".")[2] + ("" if text[:1].isdigit() else "_") + text


def _in_files(name: str) -> str:
  return re.sub(r"[^\w.%:-]+", "_", name)
