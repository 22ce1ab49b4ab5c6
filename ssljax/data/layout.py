"""Which folders are splits, and which are classes."""

import pathlib
from collections.abc import Collection

from absl import logging

from ssljax.data import places
from ssljax.data.places import listed, printable
from ssljax.data.walk import holds
from ssljax.fields import ConfigError, as_path


def folder_of(data_dir: str, noun: str) -> pathlib.Path:
  """Returns the folder that `data_dir` names; ConfigError where it is none."""
  if not data_dir:
    raise ConfigError(
      f"data.dir is empty; name the folder of {noun}, such as "
      f"--config.data.dir=~/{noun}"
    )
  root = as_path(data_dir)
  if not root.is_dir():
    unpack = "; unpack it first" if root.is_file() else ""
    raise ConfigError(
      f"data.dir={str(root)!r} is no folder; give one with {noun}{unpack}"
    )
  return root


def roots(
  root: pathlib.Path, endings: Collection[str], train_split: str, eval_split: str
) -> tuple[pathlib.Path, pathlib.Path | None]:
  """Finds, below `root` or itself, the folder to train on, one to evaluate on or None.

  What is named is taken; else what is called like a split. `endings` are those of the
  files that count. What is decided between classes and splits is said aloud.
  """
  folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
  train = _subfolder(root, "train_split", train_split, folders)
  evaluate = _subfolder(root, "eval_split", eval_split, folders)
  if train is None:
    train = places.pick(folders, places.TRAIN, "train_split")
    if train is None and not eval_split:
      _check_unsplit(root, endings, folders)
      return root, None
  if train == root or train is None:
    return root, evaluate
  if evaluate is None:
    others = [folder for folder in folders if folder != train]
    evaluate = places.pick(others, places.EVAL, "eval_split")
  if train_split or eval_split:
    return train, evaluate
  others = [f for f in folders if places.word(f) not in places.WORDS]
  others = [f.name for f in others if holds(f, endings)]
  if others and evaluate is None and not _has_folders(train, endings):
    logging.warning(
      "%r beside %s is taken as a class; to train on it alone: "
      "--config.data.train_split=%s",
      *(train.name, listed(others), train.name),
    )
    return root, None
  if others:
    logging.warning(
      "Left out of %s, which has %r to train on: %s; to take all folders as classes: "
      "--config.data.train_split=.",
      *(printable(str(root)), train.name, listed(others)),
    )
  return train, evaluate


def _subfolder(root, field, chosen, folders):
  if chosen and not (root / chosen).is_dir():
    raise ConfigError(
      f"data.{field}={chosen!r} is no folder in {str(root)!r}, which has "
      f"{listed(sorted(p.name for p in folders), 20) or 'none'}"
    )
  return root / chosen if chosen else None


def _has_folders(folder: pathlib.Path, endings: Collection[str]) -> bool:
  return any(p.is_dir() and holds(p, endings) for p in folder.iterdir())


def _check_unsplit(
  root: pathlib.Path, endings: Collection[str], folders: list[pathlib.Path]
) -> None:
  """Refuses, or says, what is called like a split where nothing is to train on."""
  named = [f for f in folders if places.LIKE_A_SPLIT.fullmatch(f.name)]
  named = sorted(f.name for f in named if holds(f, endings))
  others = (f for f in folders if f.name not in named)
  others = sorted(f.name for f in others if named and holds(f, endings))
  if named and others:
    logging.warning(
      "%s beside %s counts as a class; to evaluate on it: --config.data.eval_split=%s",
      *(listed(named), listed(others), printable(named[0])),
    )
  elif len(named) > 1:
    raise ConfigError(
      f"data.train_split is empty, and {str(root)!r} has {listed(named)}: name the one "
      "to train on (and in data.eval_split the one to evaluate on); "
      "--config.data.train_split=. takes them as classes"
    )
