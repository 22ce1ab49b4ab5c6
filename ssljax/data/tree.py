"""A tree of files of one kind: its splits, its classes in folders, what is held out."""

import collections
import concurrent.futures
import errno
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from absl import logging
from tqdm import tqdm

from ssljax.data import identity, layout, places
from ssljax.data.places import listed, printable
from ssljax.data.source import Example, Source, Splits
from ssljax.data.walk import Walk
from ssljax.fields import ConfigError

HELD_OUT = 0.1  # of every class, where no folder says what to evaluate on
CHECK_AT_MOST = 100_000  # files whose headers are read before anything starts


class Kind(NamedTuple):
  """A kind of files that a tree may hold: their endings, and what reads a header."""

  entry: str  # of an example, where the file stands
  noun: str
  endings: frozenset[str]
  read_header: Callable[[pathlib.Path], Any]  # raises what broken bytes lead to


class Folder(Source):
  """Files below `root`, sorted; `class_names` are names of folders, sorted."""

  def __init__(
    self,
    root: pathlib.Path,
    files: list[str],
    labels: list[int],
    classes: Iterable[str],
    entry: str = "image",
  ):
    self.name, self.entry = printable(str(root)), entry
    self.root, self.files, self.labels = root, files, labels
    self.class_names = tuple(classes)

  def path(self, index: int) -> str:
    """Names an example's file below `root`, as the system spells it."""
    return self.files[index]

  @functools.cached_property
  def _listing(self) -> dict[str, list]:
    return identity.of_files(self.root, self.files)

  def facts(self):
    """Returns names, sizes and times of the files, and their labels."""
    return {**self._listing, "labels": self.labels}

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> Example:
    return {self.entry: self.root / self.files[index], "label": self.labels[index]}


def splits(kind: Kind, data_dir: str, train_split: str, eval_split: str) -> Splits:
  """Opens the subfolders `train_split` and `eval_split` of `data_dir`; "." is itself.

  Default: what is called like one, in any case (`places.TRAIN`, `places.EVAL`).
  Without an evaluation folder a tenth of every class is held out, chosen by the files'
  names; a pile without classes has no evaluation split. The classes are the first
  level of folders, where there are two or more and most files lie in them; one of them
  called "unlabelled" is none. What is left out is said aloud. Raises ValueError.
  """
  root = layout.folder_of(data_dir, kind.noun)
  train_root, eval_root = layout.roots(root, kind.endings, train_split, eval_split)
  pairs = []
  if eval_root:  # as they are called, and as links lead to them
    pairs = [(train_root, eval_root), (train_root.resolve(), eval_root.resolve())]
  inside = [os.path.relpath(b, a) for a, b in pairs if a in b.parents]
  train = _read(kind, train_root, without=inside)
  if eval_root:
    if eval_root.samefile(train_root):
      logging.warning("Evaluated on what it is trained on: %s", train.name)
    elif any(b in a.parents for a, b in pairs):
      logging.warning("Evaluated on what it is trained on, and more: %s", train.name)
    return Splits(train, _read(kind, eval_root, train.class_names))
  return _hold_out(train) if train.num_classes else Splits(train, None)


def files_of(
  kind: Kind, root: pathlib.Path, without: Iterable[str] = ()
) -> tuple[list[str], Walk]:
  """Lists the files below `root` that can be read, sorted, and what was met besides.

  ConfigError where there is none.
  """
  walk = Walk(root, kind.endings, without)
  files = sorted(walk)
  if not files:
    raise ConfigError(
      f"data.dir: no {kind.noun} under {str(root)!r} (files: "
      f"{walk.left_out() or 'none'}); endings that are read: "
      f"{' '.join(sorted(kind.endings))}"
    )
  walk.warn(kind.noun)
  return _check_headers(kind, root, files), walk


def _read(
  kind: Kind,
  root: pathlib.Path,
  classes: tuple[str, ...] | None = None,
  without: Iterable[str] = (),
) -> Folder:
  """Reads the files below `root`; `classes` are the training split's, for the other."""
  files, walk = files_of(kind, root, without)
  owners = [_class(file) for file in files]
  if classes is None:
    classes = _classes(kind, root, owners, walk.tops)
  elif not classes and len(set(owners)) > 1:
    logging.warning(
      "Folders of %s are no classes, as the training split has none",
      printable(str(root)),
    )
  number = {name: i for i, name in enumerate(classes)}
  if classes:
    if not any(owners):
      raise ConfigError(
        f"data.eval_split: all {len(files)} {kind.noun} of {str(root)!r} lie beside "
        f"each other, and those of the training split in folders, {len(classes)} "
        "classes; sort them into the same folders"
      )
    files, owners = _sorted_in(kind, root, files, owners)
    strays = (name for name in owners if name not in number)
    if stray := next((name for name in strays if not _is_unlabelled(name)), None):
      raise ConfigError(
        f"data.eval_split: {stray!r} in {str(root)!r} is none of the {len(classes)} "
        "classes of the training split; sort its files into the same folders"
      )
  labels = [number.get(name, -1) for name in owners]
  if classes and -1 in labels:
    logging.warning(
      "Without a label, in %s: %d of %d %s; they are trained on, not judged by",
      *(printable(str(root)), labels.count(-1), len(labels), kind.noun),
    )
  return Folder(root, files, labels, classes, kind.entry)


def _class(file: str) -> str:
  """Names the folder at the top as a class; "" where a file lies beside them."""
  top, _, below = file.partition(os.sep)
  return printable(top) if below else ""


def _classes(
  kind: Kind, root: pathlib.Path, owners: list[str], tops: list[str]
) -> tuple[str, ...]:
  """Lists the folders that are classes, sorted; () where the files lie in one pile."""
  counts = collections.Counter(owners)
  loose = counts.pop("", 0)
  name = printable(str(root))
  labelled = [owner for owner in counts if not _is_unlabelled(owner)]
  if len(labelled) > 1:
    counts = collections.Counter({owner: counts[owner] for owner in labelled})
  if len(counts) > 1 and loose < counts.total():
    if empty := sorted({printable(top) for top in tops} - set(owners)):
      logging.warning(
        "No classes of %s, for they hold no %s: %s", name, kind.noun, listed(empty)
      )
    return _told_apart(name, sorted(counts))
  if len(counts) > 1:
    logging.warning(
      "%s has no labels: %s of its %s lie beside its %d folders, more than in them",
      *(name, f"{loose:,}", kind.noun, len(counts)),
    )
  elif counts:
    (only,) = counts
    logging.warning(
      "%s has no labels: classes are two folders or more, and there is %r alone; to "
      "take the folders in it: --config.data.train_split=%s",
      *(name, only, only),
    )
  return ()


def _is_unlabelled(folder: str) -> bool:
  return folder.casefold() in places.UNLABELLED


def _told_apart(root: str, classes: list[str]) -> tuple[str, ...]:
  """Returns the classes; says which of them a person may take for one."""
  by_word = collections.defaultdict(list)
  for name in classes:
    by_word[name.casefold()].append(name)
  for names in by_word.values():
    if len(names) > 1:
      logging.warning("Classes of %s that differ by case: %s", root, listed(names))
  return tuple(classes)


def _sorted_in(kind: Kind, root: pathlib.Path, files: list[str], owners: list[str]):
  """Lists the files that lie in a folder at the top, and whose they are."""
  loose = [file for file, owner in zip(files, owners, strict=True) if not owner]
  if loose:
    logging.warning(
      "Left out of %s, as they lie beside its classes: %d %s: %s",
      *(printable(str(root)), len(loose), kind.noun, listed(loose)),
    )
  pairs = [(f, owner) for f, owner in zip(files, owners, strict=True) if owner]
  return [f for f, _ in pairs], [owner for _, owner in pairs]


def _check_headers(kind: Kind, root: pathlib.Path, files: list[str]) -> list[str]:
  """Lists the files whose first bytes are those of their kind.

  What is broken further in, or stands beyond CHECK_AT_MOST, is met when it is decoded;
  so is what the disk does not give now: it may again, and counts as it did before.
  """
  if len(files) > CHECK_AT_MOST:
    return files
  with concurrent.futures.ThreadPoolExecutor() as pool:
    errors = pool.map(lambda file: _header_error(kind, root / file), files)
    bar = f"checking {printable(str(root))}"
    errors = list(tqdm(errors, bar, len(files), delay=2))
  away = [f"{f}: {e}" for f, e in zip(files, errors, strict=True) if _is_away(e)]
  if away:
    logging.warning(
      "The disk gives none of %d %s of %s, each replaced by the next until it does: %s",
      *(len(away), kind.noun, printable(str(root)), listed(away, 10)),
    )
  errors = [None if _is_away(e) else e for e in errors]
  pairs = zip(files, errors, strict=True)
  broken = [f"{f}: {type(e).__name__}: {e}" for f, e in pairs if e]
  if len(broken) == len(files):
    raise ConfigError(
      f"data.dir: none of the {len(files)} {kind.noun} under {str(root)!r} can be "
      f"read, the first because of {listed(broken, 1)}; check the files"
    )
  if broken:
    logging.warning(
      "Left out of %s, as they cannot be read: %d %s: %s",
      *(printable(str(root)), len(broken), kind.noun, listed(broken, 10)),
    )
  return [f for f, e in zip(files, errors, strict=True) if not e]


def _header_error(kind: Kind, file: pathlib.Path) -> Exception | None:
  try:
    kind.read_header(file)
  except Exception as error:  # Pillow's plugins raise whatever broken bytes lead to
    return error
  return None


def _is_away(error: Exception | None) -> bool:
  """Whether an error is the disk's, not the file's: no rights, a failing server."""
  error_number = isinstance(error, OSError) and error.errno  # Pillow's own have none
  return bool(error_number) and error.errno != errno.ENOENT  # a link to nothing


def rank(file: str) -> bytes:
  """Ranks a file in no order, by its name: what comes first is held out."""
  return hashlib.sha256(os.fsencode(file.replace(os.sep, "/"))).digest()


def _hold_out(source: Folder) -> Splits:
  """Holds out a tenth of every class, at least one where it has two, by the names."""
  by_class = collections.defaultdict(list)
  for i in sorted(range(len(source)), key=lambda i: rank(source.files[i])):
    by_class[source.labels[i]].append(i)
  parts = [], []
  alone = []
  for label, members in by_class.items():
    count = max(len(members) > 1, round(HELD_OUT * len(members)))
    count = count if label >= 0 else 0
    parts[0].extend(members[count:])
    parts[1].extend(members[:count])
    alone += [] if count or label < 0 else [source.class_names[label]]
  if alone:
    logging.warning(
      "Classes of one example, which is trained on and not evaluated on: %s",
      listed(sorted(alone)),
    )
  train, held_out = (_part(source, sorted(part)) for part in parts)
  return Splits(train, held_out if held_out.files else None)


def _part(source: Folder, chosen: list[int]) -> Folder:
  files, labels = [source.files[i] for i in chosen], [source.labels[i] for i in chosen]
  return Folder(source.root, files, labels, source.class_names, source.entry)
