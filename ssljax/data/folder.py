"""A tree of picture files: classes in folders, or one unlabelled pile."""

import collections
import concurrent.futures
import hashlib
import os
import pathlib

from absl import logging
from PIL import Image
from tqdm import tqdm

from ssljax.data.source import Example, Source, Splits

ENDINGS = {
  *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
  *(".jp2", ".avif"),
}
EVAL_FOLDERS = ("val", "validation", "test")
HELD_OUT = 0.1  # of every class, where no folder says what to evaluate on
CHECK_AT_MOST = 100_000  # files whose headers are read before anything starts


class Folder(Source):
  """Files below `root`, sorted; `class_names` are folder names, sorted."""

  def __init__(self, root: pathlib.Path, files: list[str], labels: list[int], classes):
    self.name = str(root)
    self.root, self.files, self.labels = root, files, labels
    self.class_names = tuple(classes)

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> Example:
    return {"image": self.root / self.files[index], "label": self.labels[index]}


def splits(
  data_dir: str | None, train_split: str | None, eval_split: str | None
) -> Splits:
  """`train_split` and `eval_split` are subfolders.

  Default: "train" with "val", "validation" or "test" where they exist. Without an
  evaluation folder a tenth of every class is held out, chosen by the files' names; a
  pile without classes has no evaluation split. The classes are the first level of
  folders, two or more of them with no picture beside them.
  """
  if not data_dir:
    raise ValueError(
      "data.name='folder' needs data.dir, the folder of pictures; try "
      "--config.data.dir=~/photos"
    )
  root = pathlib.Path(data_dir).expanduser()
  if not root.is_dir():
    raise ValueError(f"data.dir={str(root)!r} is no folder; give one with pictures")
  train_root = _subfolder(root, "train_split", train_split, ("train",)) or root
  eval_root = _subfolder(root, "eval_split", eval_split, EVAL_FOLDERS)
  if train_root == root and not eval_split:
    eval_root = None  # "test" beside other folders is one of the classes
  train = _read(train_root)
  if eval_root:
    return Splits(train, _read(eval_root, train.class_names))
  return _hold_out(train) if train.num_classes else Splits(train, None)


def _subfolder(root, field, chosen, defaults):
  if chosen and not (root / chosen).is_dir():
    raise ValueError(
      f"data.{field}={chosen!r} is no folder in {str(root)!r}, which has "
      f"{', '.join(sorted(p.name for p in root.iterdir() if p.is_dir())) or 'none'}"
    )
  folders = [root / name for name in ((chosen,) if chosen else defaults)]
  return next((folder for folder in folders if folder.is_dir()), None)


def _read(root: pathlib.Path, classes: tuple[str, ...] | None = None) -> Folder:
  """`classes`: those of the training split, where this is the evaluation split."""
  files = _check_headers(root, _pictures(root))
  parents = [f.split(os.sep, 1)[0] for f in files]
  if classes is None:
    classes = tuple(sorted(set(parents)))
    if len(classes) < 2 or any(os.sep not in f for f in files):
      classes = ()
  number = {name: i for i, name in enumerate(classes)}
  if classes and (stray := next((p for p in parents if p not in number), None)):
    raise ValueError(
      f"data.eval_split: {stray!r} in {str(root)!r} is none of the {len(classes)} "
      "classes of the training split; sort its pictures into the same folders"
    )
  return Folder(root, files, [number.get(p, -1) for p in parents], classes)


def _pictures(root: pathlib.Path) -> list[str]:
  """Every picture below root, sorted; hidden files and folders are passed over."""
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
      if ending in ENDINGS:
        files.append(os.path.join(below, name))
      else:
        others[ending or "no ending"] += 1
  left_out = ", ".join(f"{n} of {ending}" for ending, n in others.most_common(5))
  if not files:
    raise ValueError(
      f"data.dir: no pictures under {str(root)!r} (files: {left_out or 'none'}); "
      f"endings that are read: {' '.join(sorted(ENDINGS))}"
    )
  if others:
    logging.info("Files under %s that are no pictures: %s", root, left_out)
  return sorted(files)


def _check_headers(root: pathlib.Path, files: list[str]) -> list[str]:
  """The files that start like a picture.

  What is broken further in, or stands beyond CHECK_AT_MOST, is met when it is decoded.
  """
  if len(files) > CHECK_AT_MOST:
    return files
  with concurrent.futures.ThreadPoolExecutor() as pool:
    errors = pool.map(lambda file: _header_error(root / file), files)
    errors = list(tqdm(errors, f"checking {root}", len(files), delay=2))
  broken = [(f, e) for f, e in zip(files, errors, strict=True) if e]
  for file, error in broken:
    logging.warning("Left out %s of %s: %s", file, root, error)
  if len(broken) == len(files):
    raise ValueError(
      f"data.dir: none of the {len(files)} pictures under {str(root)!r} can be read, "
      f"the first because of {broken[0][1]}; check the files"
    )
  return [f for f, e in zip(files, errors, strict=True) if not e]


def _header_error(file: pathlib.Path) -> str:
  try:
    with Image.open(file):
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
  return Folder(source.root, files, labels, source.class_names)
