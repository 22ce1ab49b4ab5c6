"""Pictures with a truth for each pixel: masks of classes, or depths."""

import collections
import concurrent.futures
import contextlib
import functools
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ssljax.data import decode, deep, folder, identity, layout, tfds, tree
from ssljax.data.codec import Codec, UnreadableError
from ssljax.data.places import listed, printable
from ssljax.data.source import Source, Splits
from ssljax.data.walk import Walk
from ssljax.fields import ConfigError

IMAGES = "images"  # the folder of the pictures
NO_CLASS = 255  # of a mask
THREADS = 16


class Kind(NamedTuple):
  """A kind of truths: where they lie, and how one is read."""

  folder: str  # beside images/
  noun: str
  endings: tuple[str, ...]
  features: tuple[str, ...]  # of TFDS
  dtype: str  # of a truth on the canvas
  read: Callable[[Any], np.ndarray]  # what is stored -> [H,W] of numbers


class Truth(Codec):
  """Decodes an example's "truth": its squeezed square of size x size pixels.

  Each takes the value of the nearest one: classes do not mix, nor do depths on the two
  sides of an edge.
  """

  def __init__(self, kind: Kind, size: int):
    self.kind, self.size = kind, size

  @property
  def spec(self):
    """Describes the square, whatever the picture's own ratio."""
    return {"truth": ((self.size, self.size), self.kind.dtype)}

  def decode(self, example):
    """Decodes to "truth" [size,size]; ConfigError on what is no truth."""
    return {"truth": nearest(_read(self.kind, example), self.size)}


def nearest(x: np.ndarray, size: int) -> np.ndarray:
  """Squeezes [H,W] to [size,size]: the value under the centre of each new pixel."""
  rows, columns = (((np.arange(size) + 0.5) * n / size).astype(int) for n in x.shape)
  return x[rows[:, None], columns[None]]


def _read(kind: Kind, example: dict[str, Any]) -> np.ndarray:
  stored = example["truth"]
  try:
    x = kind.read(stored)
  except ConfigError as error:
    raise ConfigError(f"the {kind.noun} {_name(stored)!r} {error}") from error
  except Exception as error:  # Pillow's plugins raise whatever broken bytes lead to
    raise ConfigError(
      f"the {kind.noun} {_name(stored)!r} cannot be read: {type(error).__name__}: "
      f"{error}"
    ) from error
  return x.astype(kind.dtype)


def _name(stored: Any) -> str:
  return printable(str(stored)) if isinstance(stored, pathlib.Path) else "of a record"


def _mask(stored: Any) -> np.ndarray:
  """Reads the classes of a mask: a palette's numbers, or grey ones."""
  if isinstance(stored, np.ndarray):
    x = stored
  else:
    with Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else stored) as f:
      x = np.asarray(f.convert("L") if f.mode == "1" else f)
      x = x // 255 if f.mode == "1" else x
  if x.ndim == 3 and np.array_equal(x.min(2), x.max(2)):  # grey, written as colours
    x = x[..., 0]
  if x.ndim != 2:
    raise ConfigError(
      "is coloured, and a mask is a picture of numbers: a palette's or grey ones, each "
      "the number of a class"
    )
  if x.min() < 0 or x.max() > NO_CLASS:
    raise ConfigError(
      f"has the number {x.max() if x.max() > NO_CLASS else x.min()}; classes are 0 to "
      f"{NO_CLASS - 1}, and {NO_CLASS} is none"
    )
  return x


def _depth(stored: Any) -> np.ndarray:
  """Reads depths: NumPy's file, or a grey picture of 16 bits; 0: unknown."""
  if isinstance(stored, pathlib.Path) and stored.suffix.lower() == ".npy":
    x = np.load(stored)
  elif isinstance(stored, np.ndarray):
    x = stored
  else:
    with Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else stored) as f:
      if not deep.is_deep(f):
        raise ConfigError(
          f"is a picture of mode {f.mode}; depths are grey pictures of 16 bits, or .npy"
        )
      x = np.asarray(f)
  x = x[..., 0] if x.ndim == 3 and x.shape[2] == 1 else x
  if x.ndim != 2 or x.dtype.kind not in "iuf":
    raise ConfigError(f"is {x.dtype} {list(x.shape)}; depths are numbers [H,W]")
  return np.where(np.isfinite(x), x, 0)


MASKS = Kind(
  *("masks", "mask", (".png", ".bmp", ".tif", ".tiff")),
  ("segmentation_mask", "segmentation", "segmentation_label", "annotation", "mask"),
  *("uint8", _mask),
)
DEPTHS = Kind(
  *("depth", "depth", (".png", ".tif", ".tiff", ".npy")),
  ("depth", "depth_map"),
  *("float32", _depth),
)


class Pixels:
  """What sources of either origin share: pictures with truths of a `kind`."""

  kind: Kind

  def codecs(self, size: int) -> tuple[Codec, ...]:
    """Returns what decodes the pictures and their truths, at `data.size`."""
    return (*super().codecs(size), Truth(self.kind, size))


class Paired(Pixels, tree.Folder):
  """Pictures in a folder, each with the truth of its name in another."""

  def __init__(self, kind: Kind, root: pathlib.Path, files: list[str], truths: list):
    super().__init__(root / IMAGES, files, [-1] * len(files), ())
    self.kind, self.truth_root, self.truths = kind, root / kind.folder, truths

  @functools.cached_property
  def _of_truths(self) -> dict[str, list]:
    return identity.of_files(self.truth_root, self.truths)

  def facts(self):
    """Returns names, sizes and times of the pictures, names and sizes of the truths."""
    known = self._of_truths
    truths = {f"{k} of {self.kind.folder}": known[k] for k in ("names", "sizes")}
    return {**super().facts(), **truths}

  def __getitem__(self, index):
    truth = self.truth_root / self.truths[index]
    return {**super().__getitem__(index), "truth": truth}


class Records(Pixels, tfds.Records):
  """A split of TFDS whose examples have a feature of this kind."""

  def __init__(self, kind: Kind, builder, split: str):
    features = builder.info.features
    self.kind, self.key = kind, next((k for k in kind.features if k in features), "")
    if not self.key:
      raise ConfigError(
        f"data.name={builder.info.full_name!r} has no {kind.noun} among its features "
        f"{sorted(features)}; it would be called {' or '.join(kind.features)}"
      )
    super().__init__(builder, split)

  def _example(self, record):
    return {**super()._example(record), "label": -1, "truth": record[self.key]}


def in_tfds(kind: Kind, name: str, *place: str) -> Splits:
  """Opens a data set of TFDS with truths of this kind."""
  return tfds.opened(functools.partial(Records, kind), name, *place)


def in_folder(kind: Kind, data_dir: str, train_split: str, eval_split: str) -> Splits:
  """Opens pictures below `data_dir`/images, with truths of the same names beside it.

  Splits are folders of images/, as those of any folder of pictures (`layout.roots`),
  and the same ones hold the truths; where there are none, a tenth is held out by the
  files' names. ConfigError where a picture has no truth.
  """
  root = layout.folder_of(data_dir, folder.PICTURES.noun)
  for name in (IMAGES, kind.folder):
    if not (root / name).is_dir():
      raise ConfigError(
        f"data.dir={str(root)!r} has no folder {name}; it needs {IMAGES}/ and "
        f"{kind.folder}/, with a {kind.noun} of the same name for every picture"
      )
  images = root / IMAGES
  roots = layout.roots(images, folder.PICTURES.endings, train_split, eval_split)
  truths = _by_stem(root / kind.folder, kind)
  splits = []
  for split in filter(None, roots):
    files, _ = tree.files_of(folder.PICTURES, split)
    prefix = os.path.relpath(split, images)
    files = [os.path.normpath(os.path.join(prefix, file)) for file in files]
    splits.append(_paired(kind, root, files, truths))
  if len(splits) == 1:
    splits = _hold_out(*splits)
  return Splits(*splits)


def _by_stem(root: pathlib.Path, kind: Kind) -> dict[str, str]:
  """Finds the truths below `root` by their names without an ending."""
  by_stem = collections.defaultdict(list)
  for file in sorted(Walk(root, kind.endings)):
    by_stem[os.path.splitext(file)[0]].append(file)
  for files in by_stem.values():
    if len(files) > 1:
      raise ConfigError(
        f"{str(root)!r} has {listed(files)} for one picture; keep one of them"
      )
  return {stem: files[0] for stem, files in by_stem.items()}


def _paired(kind: Kind, root: pathlib.Path, files: list[str], truths: dict) -> Paired:
  stems = [os.path.splitext(file)[0] for file in files]
  missing = [f for f, stem in zip(files, stems, strict=True) if stem not in truths]
  if missing:
    raise ConfigError(
      f"{len(missing)} of {len(files)} pictures in {str(root / IMAGES)!r} have no "
      f"{kind.noun} in {str(root / kind.folder)!r}: {listed(missing)}; it has the "
      f"picture's name and ends in {' or '.join(kind.endings)}"
    )
  return Paired(kind, root, files, [truths[stem] for stem in stems])


def _hold_out(source: Paired) -> tuple[Paired, ...]:
  """Holds out a tenth of the pictures, at least one, by their names."""
  order = sorted(range(len(source)), key=lambda i: tree.rank(source.files[i]))
  count = max(1, round(tree.HELD_OUT * len(order)))
  if len(order) < 2:
    raise ConfigError(
      f"data.dir: {source.name!r} has a single picture; it takes one to learn from and "
      "another to be judged on"
    )
  root = source.root.parent

  def part(numbers):
    chosen = ([x[i] for i in sorted(numbers)] for x in (source.files, source.truths))
    return Paired(source.kind, root, *chosen)

  return part(order[count:]), part(order[:count])


def check(source: Source, ignored: Sequence[int] = ()) -> np.ndarray:
  """Reads every truth of a source -> its least and greatest value [N,2].

  Values that are `ignored` apart; (0, 0) where there are no others. ConfigError where
  one cannot be read, or is of another size than its picture.
  """
  kind = source.kind

  def look(index: int) -> tuple[float, float]:
    example = source[index]
    x, size = _read(kind, example), None
    with contextlib.suppress(UnreadableError):  # met again, and said, when it is seen
      size = decode.size_of(example["image"])
    if size and x.shape[::-1] != size:
      raise ConfigError(
        f"the {kind.noun} of {printable(source.path(index))!r} is {x.shape[1]} x "
        f"{x.shape[0]} pixels, and the picture {size[0]} x {size[1]}; they must be of "
        "one size"
      )
    x = x[~np.isin(x, ignored)] if ignored else x
    return (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)

  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
    looks = pool.map(look, range(len(source)))
    bar = f"checking {kind.folder} of {printable(source.name)}"
    return np.array(list(tqdm(looks, bar, len(source), delay=2)))
