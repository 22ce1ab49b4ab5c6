"""Several pictures of one scene that lie on one another: colour, depth, normals, ..."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from ssljax.data import deep, identity, labels, npz, places
from ssljax.data.codec import Codec, Example, UnreadableError
from ssljax.data.decode import to_rgb
from ssljax.data.folder import PICTURES
from ssljax.data.source import Source, Splits
from ssljax.data.walk import Walk
from ssljax.fields import ConfigError, as_path
from ssljax.fields.ranges import Count

Planes = tuple[tuple[str, int], ...]  # names, and how many channels each has
Ranges = dict[str, tuple[float, float]]  # what 0 and 255 stand for

NEAREST = ("segmentation",)  # planes whose numbers are names, not to be averaged
RANGED = 256  # examples whose least and greatest values are a plane's range


class Stacked(Codec):
  """An example's "planes" as the channels of one canvas of size x size, in order.

  8 bits stay as they are; all else is scaled to them by its plane's range, and what is
  no number is 0. Resized like pictures; a segmentation takes the nearest value.
  """

  def __init__(self, size: int, planes: Planes, ranges: Ranges | None = None):
    self.size, self.planes, self.ranges = size, planes, ranges or {}

  @property
  def spec(self):
    """Describes the canvas, and the true width / height of the first plane."""
    shape = (self.size, self.size, sum(channels for _, channels in self.planes))
    return {"image": (shape, "uint8"), "aspect": ((), "float32")}

  def decode(self, example):
    """Decodes an example's planes -> "image" uint8 [S,S,C], "aspect"."""
    stored = example["planes"]
    planes = [(name, load(stored[name], channels)) for name, channels in self.planes]
    height, width = planes[0][1].shape[:2]
    image = np.concatenate([self._fit(name, x) for name, x in planes], axis=2)
    return {"image": image, "aspect": width / height}

  def _fit(self, name: str, x: np.ndarray) -> np.ndarray:
    """Resizes a plane [H,W,C] to uint8 [S,S,C]."""
    if x.dtype != np.uint8:
      if name not in self.ranges:
        raise UnreadableError(
          f"{name!r} is of type {x.dtype}, and of 8 bits in the training split"
        )
      low, high = self.ranges[name]
      share = (np.float64(x) - low) / max(high - low, 1e-12)
      x = np.uint8(np.round(255 * np.clip(np.nan_to_num(share), 0, 1)))
    if x.shape[:2] == (self.size, self.size):
      return x
    kind = Image.Resampling.NEAREST if name in NEAREST else Image.Resampling.BICUBIC
    channels = (Image.fromarray(np.ascontiguousarray(c)) for c in np.moveaxis(x, 2, 0))
    return np.stack([c.resize((self.size, self.size), kind) for c in channels], 2)


class Scenes(Source):
  """N examples of the same planes, each plane an array [N,...] or N files."""

  def __init__(
    self,
    root: pathlib.Path,
    planes: Planes,
    stored: dict[str, np.ndarray | list[pathlib.Path]],
    labels: Sequence[int],
    classes: labels.Classes,
    like: "Scenes | None" = None,
  ):
    """Takes scenes; `like` is the training split, where this is the other."""
    self.name, self.root = places.printable(str(root)), root
    self.planes, self.stored, self.labels = planes, stored, labels
    self.class_names = classes
    self.ranges = like.ranges if like else self._ranges()

  def facts(self):
    """Returns the arrays, or of files names, sizes and times; and the labels."""
    facts: dict[str, Any] = {"planes": self.planes, "labels": self.labels}
    for name, plane in self.stored.items():
      if isinstance(plane, np.ndarray):
        facts.setdefault("arrays", {})[name] = plane
      else:
        files = [os.path.relpath(file, self.root) for file in plane]
        for word, values in identity.of_files(self.root, files).items():
          facts.setdefault(word, {})[name] = values
    return facts

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, index: int) -> Example:
    planes = {name: plane[index] for name, plane in self.stored.items()}
    return {"planes": planes, "label": self.labels[index]}

  def codecs(self, size: int):
    """Returns the codec that puts all planes on one canvas."""
    return (Stacked(size, self.planes, self.ranges),)

  def _ranges(self) -> Ranges:
    """Measures what is not 8 bits, in examples spread over all of them."""
    sampled = [self[i]["planes"] for i in range(0, len(self), -(-len(self) // RANGED))]
    ranges = {}
    for name, channels in self.planes:
      ends = []
      for stored in sampled:
        with contextlib.suppress(UnreadableError):  # met again, and said, when decoded
          x = load(stored[name], channels)
          x = x[np.isfinite(x)]
          if x.size and x.dtype != np.uint8:
            ends.append((float(x.min()), float(x.max())))
      if ends:
        low, high = zip(*ends, strict=True)
        ranges[name] = min(low), max(high)
    return ranges


def load(plane: np.ndarray | pathlib.Path, channels: int) -> np.ndarray:
  """Loads a stored plane of one example -> [H,W,channels]. Raises UnreadableError."""
  if isinstance(plane, pathlib.Path):
    open_it = functools.partial(deep.open_picture, plane)
    try:
      with open_it() as f:
        plane = _values(f, open_it, channels)
    except Exception as error:  # Pillow's plugins raise whatever broken bytes lead to
      raise UnreadableError(
        f"{places.printable(str(plane))}: {type(error).__name__}: {error}"
      ) from error
  return plane.reshape(*plane.shape[:2], channels)


def _values(f: Image.Image, open_it: deep.Open, channels: int) -> np.ndarray:
  if channels == 1:  # the numbers of a palette are what they are, classes mostly
    return np.asarray(f if len(f.getbands()) == 1 else f.convert("L"))
  if not deep.is_deep(f):
    return np.asarray(to_rgb(f, open_it))
  x = deep.values(open_it)
  return x[..., :3] if x.ndim == 3 else np.repeat(x[..., None], 3, axis=2)


def splits(
  *,
  dir: str = "",
  train_split: str = "",
  eval_split: str = "",
  planes: Sequence[tuple[str, Count]] = (),
) -> Splits:
  """Opens the `planes`, pairs of a name and a number of channels, of scenes in `dir`.

  A split is a file of NumPy, `train.npz`, whose arrays are the planes, [N,H,W] or
  [N,H,W,C] of any numeric type, and perhaps "label" [N]; or it is a folder of folders,
  `train/rgb/x.png` beside `train/depth/x.png`, unlabelled, of 1 or 3 channels each.
  Default: what is called like one, in any case (`places.TRAIN`, `places.EVAL`), else
  all of `dir`, which may be a file too, to train on. Ranges are those of the training
  split (`Stacked`). Raises ValueError.
  """
  planes = _check(planes)
  root = as_path(dir)
  if not dir or not root.exists():
    raise ConfigError(
      f"data.dir={dir!r} is neither a folder nor a file of arrays; name the folder of "
      "train.npz, or of a folder for each plane"
    )
  train = _find(root, "train_split", train_split, places.TRAIN) or root
  evaluate = _find(root, "eval_split", eval_split, places.EVAL)
  train = _open(train, planes)
  return Splits(train, _open(evaluate, planes, train) if evaluate else None)


def _check(planes) -> Planes:
  try:
    checked = tuple((str(name), int(channels)) for name, channels in planes)
  except (TypeError, ValueError):
    checked = ()
  if not checked or any(channels < 1 for _, channels in checked):
    raise ConfigError(
      f"data.planes={planes!r} must be pairs of a plane and its number of channels; "
      "try (('rgb', 3), ('depth', 1))"
    )
  return checked


def _find(root: pathlib.Path, field: str, chosen: str, groups: places.Groups):
  if chosen:
    paths = (root / chosen, root / f"{chosen}.npz")
    path = next((path for path in paths if path.exists()), None)
    if not path:
      raise ConfigError(
        f"data.{field}={chosen!r} is neither a folder nor a file of {str(root)!r}, "
        f"which has {_listing(root)}"
      )
    return path
  entries = root.iterdir() if root.is_dir() else ()
  entries = (p for p in entries if p.is_dir() or p.suffix.lower() == ".npz")
  return places.pick(entries, groups, field)


def _open(path: pathlib.Path, planes: Planes, like: Scenes | None = None) -> Scenes:
  if path.is_dir():
    stored = _files(path, planes)
    return Scenes(path, planes, stored, len(stored[planes[0][0]]) * [-1], (), like)
  stored = npz.read(path, planes)
  n = len(stored[planes[0][0]])
  classes = like.class_names if like else None
  written = stored.pop("label", np.full(n, -1))
  numbers, classes = labels.number(written, n, str(path), classes)
  return Scenes(path, planes, stored, numbers, classes, like)


def _files(root: pathlib.Path, planes: Planes) -> dict[str, list[pathlib.Path]]:
  """Finds the files of each plane, in the order of the stems that all planes have."""
  by_stem = {}
  for name, channels in planes:
    if channels not in (1, 3):
      raise ConfigError(
        f"data.planes: {name!r} has {channels} channels, and a file 1 or 3; write the "
        "planes as arrays of a .npz"
      )
    if not (root / name).is_dir():
      raise ConfigError(
        f"data.planes: there is no folder {name!r} in {str(root)!r}, which has "
        f"{_listing(root)}"
      )
    walk = Walk(root / name, PICTURES.endings)
    files = sorted(walk)
    walk.warn(PICTURES.noun)
    by_stem[name] = {os.path.splitext(f)[0]: root / name / f for f in files}
    if twice := len(files) - len(by_stem[name]):
      where = places.printable(str(root / name))
      logging.warning("Left out of %s, as others have their names: %d", where, twice)
  stems = set.intersection(*map(set, by_stem.values()))
  if not stems:
    raise ConfigError(
      f"data.dir: no picture of {str(root)!r} is in all of {', '.join(by_stem)}; files "
      "of one scene must have one name"
    )
  alone = sum(len(files) - len(stems) for files in by_stem.values())
  if alone:
    name = places.printable(str(root))
    logging.warning("Left out %d files of %s that lack a plane", alone, name)
  return {name: [files[s] for s in sorted(stems)] for name, files in by_stem.items()}


def _listing(root: pathlib.Path) -> str:
  names = sorted(p.name for p in root.iterdir()) if root.is_dir() else ()
  return ", ".join(names) or "nothing"
