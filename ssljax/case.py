"""What a protocol is asked about: a checkpoint, data, and numbers."""

import hashlib
import pathlib
import re
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import data, dispatch, embed, recipe
from ssljax.core import TrainState
from ssljax.data import Splits
from ssljax.encoder import Trained
from ssljax.fields import ConfigError
from ssljax.judge import Judge, Scores

DATA = ("name", "dir", "train_split", "eval_split")  # of an evaluation's own data
TRAINED_ON = ("held_out", "per_class")  # of one that trains


class Case(NamedTuple):
  """What a protocol is asked about."""

  config: ConfigDict
  run: pathlib.Path
  folder: pathlib.Path  # for what it writes
  mesh: Mesh
  trained: Trained

  @property
  def name(self) -> str:
    """Of its files: the protocol, and what a user asked for besides."""
    c = self.config
    asked = [c.protocol or c.evaluator]
    if c.step:
      asked.append(f"step{c.step}")
    asked += [c.data[name] for name in ("name", "train_split", "eval_split")]
    if c.data.get("per_class"):
      asked.append(f"{c.data.per_class}_per_class")
    return re.sub(r"[^\w.%:-]+", "_", "-".join(filter(None, asked)))

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
    c.update({name: 0 for name in TRAINED_ON if name in c})
    c.update(self.own_data)
    return c

  def judge(self) -> Judge:
    """Of the checkpoint, with the config's numbers; features are kept."""
    c = self.trained.config.copy_and_resolve_references().unlock()
    c.data = self.data()
    c.evals[self.config.evaluator] = ConfigDict(self.numbers)
    splits = recipe.open_data(c, self.run)
    kept = embed.Kept(self.run, self.identity(splits))
    return Judge(c, self.trained.parts, splits, self.mesh, kept)

  def identity(self, splits: Splits) -> dict[str, Any]:
    """All that features depend on: the checkpoint, the config's data, what is there."""
    digest = hashlib.sha256()
    for source in filter(None, splits):
      digest.update("\n".join(map(source.path, range(len(source)))).encode())
    return {
      "checkpoint": self.trained.identity,
      "data": self.data().to_dict(),
      "examples": digest.hexdigest(),
    }

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


def evaluable(judge: Judge) -> Judge:
  """The same; ConfigError where there is nothing to look at but the training split."""
  if judge.splits.eval is None:
    raise ConfigError(
      f"data.name={judge.config.data.name} has nothing to evaluate on; name a part of "
      "it with --config.data.eval_split, or put pictures into a folder val/"
    )
  return judge
