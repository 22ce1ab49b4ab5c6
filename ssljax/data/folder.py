"""A tree of files: classes in folders, or one unlabelled pile."""

import collections
import concurrent.futures
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from absl import logging
from PIL import Image
from tqdm import tqdm

from ssljax.data import identity
from ssljax.data.source import Example, Source, Splits
from ssljax.fields import as_path

EVAL_FOLDERS = ("val", "validation", "test")
HELD_OUT = 0.1  # of every class, where no folder says what to evaluate on
CHECK_AT_MOST = 100_000  # files whose headers are read before anything starts


class Kind(NamedTuple):
  """What files of a tree may be."""

  entry: str  # of an example, where the file stands
  noun: str
  endings: frozenset[str]
  read_header: Callable[[pathlib.Path], Any]  # raises what broken bytes lead to


def _open_picture(file: pathlib.Path) -> None:
  with Image.open(file):
    pass


PICTURES = Kind(
  "image",
  "pictures",
  frozenset(
    (
      *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"),
      *(".pgm", ".jp2", ".avif"),
    )
  ),
  _open_picture,
)


class Folder(Source):
  """Files below `root`, sorted; `class_names` are folder names, sorted."""

  def __init__(
    self,
    root: pathlib.Path,
    files: list[str],
    labels: list[int],
    classes: Iterable[str],
    entry: str = PICTURES.entry,
  ):
    self.name, self.entry = str(root), entry
    self.root, self.files, self.labels = root, files, labels
    self.class_names = tuple(classes)

  def path(self, index: int) -> str:
    """Below `root`."""
    return self.files[index]

  @functools.cached_property
  def _listing(self) -> dict[str, list]:
    return identity.of_files(self.root, self.files)

  def facts(self):
    """Names, sizes and times of the files, and their labels."""
    return {**self._listing, "labels": self.labels}

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> Example:
    return {self.entry: self.root / self.files[index], "label": self.labels[index]}


def splits(*, dir: str = "", train_split: str = "", eval_split: str = "") -> Splits:
  """Pictures in the tree `dir`, as `tree` splits it."""
  return tree(PICTURES, dir, train_split, eval_split)


def tree(kind: Kind, data_dir: str, train_split: str, eval_split: str) -> Splits:
  """`train_split` and `eval_split` are subfolders.

  Default: "train" with "val", "validation" or "test" where they exist. Without an
  evaluation folder a tenth of every class is held out, chosen by the files' names; a
  pile without classes has no evaluation split. The classes are the first level of
  folders, two or more of them with no file beside them.
  """
  if not data_dir:
    raise ValueError(
      f"data.dir is empty; name the folder of {kind.noun}, such as "
      f"--config.data.dir=~/{kind.noun}"
    )
  root = as_path(data_dir)
  if not root.is_dir():
    raise ValueError(f"data.dir={str(root)!r} is no folder; give one with {kind.noun}")
  train_root = _subfolder(root, "train_split", train_split, ("train",)) or root
  eval_root = _subfolder(root, "eval_split", eval_split, EVAL_FOLDERS)
  if train_root == root and not eval_split:
    eval_root = None  # "test" beside other folders is one of the classes
  train = _read(kind, train_root)
  if eval_root:
    return Splits(train, _read(kind, eval_root, train.class_names))
  return _hold_out(train) if train.num_classes else Splits(train, None)


def _subfolder(root, field, chosen, defaults):
  if chosen and not (root / chosen).is_dir():
    raise ValueError(
      f"data.{field}={chosen!r} is no folder in {str(root)!r}, which has "
      f"{', '.join(sorted(p.name for p in root.iterdir() if p.is_dir())) or 'none'}"
    )
  folders = [root / name for name in ((chosen,) if chosen else defaults)]
  return next((folder for folder in folders if folder.is_dir()), None)


def _read(
  kind: Kind, root: pathlib.Path, classes: tuple[str, ...] | None = None
) -> Folder:
  """`classes`: those of the training split, where this is the evaluation split."""
  files = _check_headers(kind, root, _files(kind, root))
  parents = [f.split(os.sep, 1)[0] for f in files]
  if classes is None:
    classes = tuple(sorted(set(parents)))
    if len(classes) < 2 or any(os.sep not in f for f in files):
      classes = ()
  number = {name: i for i, name in enumerate(classes)}
  if classes and (stray := next((p for p in parents if p not in number), None)):
    raise ValueError(
      f"data.eval_split: {stray!r} in {str(root)!r} is none of the {len(classes)} "
      "classes of the training split; sort its files into the same folders"
    )
  labels = [number.get(p, -1) for p in parents]
  return Folder(root, files, labels, classes, kind.entry)


def _files(kind: Kind, root: pathlib.Path) -> list[str]:
  """Every one of a kind below root, sorted; hidden files are passed over."""
  files, others, seen = [], collections.Counter(), set()
  for folder, folders, names in os.walk(root, followlinks=True):
    real = os.path.realpath(folder)
    if real in seen:  # a link in a circle
      folders.clear()
      continue
    seen.add(real)
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    below = "" if folder == str(root) else os.path.relpath(folder, root)
    for name in names:
      ending = os.path.splitext(name)[1].lower()
      if name.startswith("."):
        continue
      if ending in kind.endings:
        files.append(os.path.join(below, name))
      else:
        others[ending or "no ending"] += 1
  left_out = ", ".join(f"{n} of {ending}" for ending, n in others.most_common(5))
  if not files:
    raise ValueError(
      f"data.dir: no {kind.noun} under {str(root)!r} (files: {left_out or 'none'}); "
      f"endings that are read: {' '.join(sorted(kind.endings))}"
    )
  if others:
    logging.info("Files under %s that are no %s: %s", root, kind.noun, left_out)
  return sorted(files)


def _check_headers(kind: Kind, root: pathlib.Path, files: list[str]) -> list[str]:
  """The files whose first bytes can be read.

  What is broken further in, or stands beyond CHECK_AT_MOST, is met when it is decoded.
  """
  if len(files) > CHECK_AT_MOST:
    return files
  with concurrent.futures.ThreadPoolExecutor() as pool:
    errors = pool.map(lambda file: _header_error(kind, root / file), files)
    errors = list(tqdm(errors, f"checking {root}", len(files), delay=2))
  broken = [(f, e) for f, e in zip(files, errors, strict=True) if e]
  for file, error in broken:
    logging.warning("Left out %s of %s: %s", file, root, error)
  if len(broken) == len(files):
    raise ValueError(
      f"data.dir: none of the {len(files)} {kind.noun} under {str(root)!r} can be "
      f"read, the first because of {broken[0][1]}; check the files"
    )
  return [f for f, e in zip(files, errors, strict=True) if not e]


def _header_error(kind: Kind, file: pathlib.Path) -> str:
  try:
    kind.read_header(file)
    return ""
  except Exception as error:  # Pillow's plugins raise whatever broken bytes lead to
    return f"{type(error).__name__}: {error}"


def _hold_out(source: Folder) -> Splits:
  """A tenth of every class, at least one where it has two; the names decide which."""

  def rank(i):
    return hashlib.sha256(pathlib.Path(source.files[i]).as_posix().encode()).digest()

  by_class = collections.defaultdict(list)
  for i in sorted(range(len(source)), key=rank):
    by_class[source.labels[i]].append(i)
  parts = [], []
  for members in by_class.values():
    count = max(len(members) > 1, round(HELD_OUT * len(members)))
    parts[0].extend(members[count:])
    parts[1].extend(members[:count])
  train, held_out = (_part(source, sorted(part)) for part in parts)
  return Splits(train, held_out if held_out.files else None)


def _part(source: Folder, chosen: list[int]) -> Folder:
  files, labels = [source.files[i] for i in chosen], [source.labels[i] for i in chosen]
  return Folder(source.root, files, labels, source.class_names, source.entry)
