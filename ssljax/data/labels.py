"""Labels as people write them -> numbers of classes."""

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging

from ssljax.data.places import listed, printable
from ssljax.fields import ConfigError

SPARSE = 1000  # numbers that no example has, and ten times those that some have
NONE = ("", "-1", "nan")  # how text says that there is no label, in any case
USUAL = ("label", "y", "target", "class", "class_id", "category")  # names of labels

Classes = tuple[str, ...]


def number(
  stored: np.ndarray, count: int, where: str, classes: Classes | None = None
) -> tuple[list[int], Classes]:
  """Numbers the labels of `count` examples -> numbers, -1: none; and the classes.

  `stored`, [N] or [N,1], are numbers of classes, whole ones of any type, or names. -1,
  NaN and "" are none, and so is "-1" or "nan" among names, in any case (`of_text`).
  `classes`: those of the training split, where these are of the evaluation split.
  ValueError, with `where` they stand, for what is no label.
  """
  where = f"'label' of {where!r}"
  if stored.shape not in ((count,), (count, 1)):
    raise ConfigError(
      f"data.dir: {where} is {list(stored.shape)} and must be [{count}]; take one "
      "label for each example"
    )
  if stored.dtype.kind not in "biufUS":
    raise ConfigError(
      f"data.dir: {where} is of type {stored.dtype}; labels are whole numbers or names"
    )
  values, inverse = np.unique(stored.reshape(-1), return_inverse=True)
  names = [_name(value, where) for value in values]
  if classes is None:
    classes = _classes(names, values.dtype.kind in "iuf", where)
  return assign([names[i] for i in inverse.reshape(-1)], where, classes)


def assign(
  names: Sequence[str], where: str, classes: Classes | None = None
) -> tuple[list[int], Classes]:
  """Numbers the names of the classes of N examples, "": none, as `number` does.

  `classes`: default is all names, sorted.
  """
  used_names = dict.fromkeys(name for name in names if name)
  classes = tuple(sorted(used_names)) if classes is None else classes
  numbers = {name: i for i, name in enumerate(classes)}
  strays = [name for name in used_names if name not in numbers]
  if classes and strays:
    raise ConfigError(
      f"data.eval_split: label {strays[0]!r}, in {where}, is none of the "
      f"{len(classes)} classes of the training split ({listed(classes, 10)}); correct "
      "it or leave it empty"
    )
  labels = [numbers.get(name, -1) for name in names]
  missing = labels.count(-1)
  if classes and missing:
    logging.warning(
      "Without a label, in %s: %d of %d examples; they are trained on, not judged by",
      *(where, missing, len(labels)),
    )
  return labels, classes


def of_text(text: str) -> str:
  """Strips a label that is written as text; "" where it says none (`NONE`)."""
  text = text.strip()
  return "" if text.casefold() in NONE else text


def warn_unread(where: str, names: Iterable[str], read: Iterable[str]) -> None:
  """Warns of those names of columns or arrays that are not `read`.

  Where there is no "label" it asks whether one of them is meant as such.
  """
  names = set(names)
  unread = sorted(name for name in names - set(read) if name.strip())
  if not unread:
    return
  near = (n for n in unread if difflib.get_close_matches(n.casefold(), USUAL, 1, 0.75))
  meant = None if "label" in names else next(near, None)
  question = f"; {listed([meant])}: did you mean label?" if meant else ""
  logging.warning("Not read, in %s: %s%s", printable(where), listed(unread), question)


def _name(value: np.generic, where: str) -> str:
  """Names a label; "" where it is none."""
  if value.dtype.kind == "S":
    return printable(of_text(value.decode("utf-8", "surrogateescape")))
  if value.dtype.kind == "U":
    return printable(of_text(str(value)))
  if value.dtype.kind == "b":
    return str(bool(value))
  if np.isnan(value) or value == -1:
    return ""
  if value < 0 or value != np.floor(value) or not np.isfinite(value):
    raise ConfigError(
      f"data.dir: {value} in {where} is no label; classes are numbered 0, 1, 2, ..., "
      "and -1 is none"
    )
  return str(int(value))


def _classes(names: Sequence[str], numbered: bool, where: str) -> Classes:
  """Lists the classes of the training split: by number, or names in order."""
  used_names = sorted({name for name in names if name})
  if not numbered:
    return tuple(used_names)
  last = max(map(int, used_names), default=-1)
  if last >= SPARSE + 10 * len(used_names):
    raise ConfigError(
      f"data.dir: {where} holds {len(used_names)} classes and numbers up to {last}; "
      "number them 0, 1, 2, ..., or write them as names"
    )
  classes = tuple(map(str, range(last + 1)))
  if empty := [name for name in classes if name not in used_names]:
    logging.warning("Classes without an example, in %s: %s", where, listed(empty))
  return classes
