"""Any data set of the TensorFlow Datasets catalogue, read without TensorFlow.

What is prepared on disk is opened from its own metadata: no network, no code of the
data set. What is not is downloaded and prepared once, as ArrayRecord.
"""

import contextlib
import difflib
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from ssljax.data import identity
from ssljax.data.codec import UnreadableError
from ssljax.data.shards import Shards, TFRecords, count_array_records
from ssljax.data.source import Example, Source, Splits
from ssljax.fields import ConfigError, as_path

NAME = re.compile(r"\w+($|[/:][^.])")
LOOKED_AT = 32  # examples, for a label
EVAL_SPLITS = ("validation", "test")  # ImageNet's "test" has no labels
NUMBERED = ("stl10", "cifar10", "cifar100")  # their keys, not kept, are numbers


class Records(Source):
  """One split of a prepared data set, sliced as TFDS slices ("train[:10%]")."""

  def __init__(self, builder, split: str):
    import tensorflow_datasets as tfds

    features, info = builder.info.features, builder.info
    pictures = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    if not pictures:
      raise ConfigError(
        f"data.name={info.full_name!r} has no picture among its features "
        f"{sorted(features)}; choose a data set of pictures"
      )
    self.name = f"{info.full_name}[{split}]"
    self.known_as, self.split = info.name, split
    self.shuffled = not info.disable_shuffling
    self.image_key = "image" if "image" in pictures else pictures[0]
    self.label_key = "label" if "label" in labels else next(iter(labels), None)
    if self.label_key:
      self.class_names = tuple(features[self.label_key].names)
    self.data_set, self.files = info.full_name, _files(info, split)
    place = os.fspath(builder.data_dir)
    self.root = None if "://" in place else pathlib.Path(place)
    self.shards = Shards(info.splits[split].file_instructions)
    decoders = {k: tfds.decode.SkipDecoding() for k in pictures}  # `decode.py` does
    if info.file_format == tfds.core.FileFormat.TFRECORD:
      self.records = TFRecords(self.shards, features, decoders)
      self.shards.check(self.records.count, self.name)
    else:
      self.shards.check(count_array_records, self.name)
      self.records = builder.as_data_source(split, decoders=decoders)
    if not self._has_labels():  # as STL-10's "unlabelled"
      self.class_names = ()

  def _has_labels(self) -> bool:
    sampled = np.unique(np.linspace(0, len(self) - 1, LOOKED_AT).astype(int))
    with contextlib.suppress(UnreadableError):  # met again, and said, when decoded
      return any(
        example["label"] >= 0 for example in self.__getitems__(sampled.tolist())
      )
    return True

  def facts(self):
    """Returns the split's name and version, sizes and times of its files.

    Sizes stand with the times: prepared in another format it is the same data.
    """
    return {"data set": self.data_set, identity.TIMES: self.files}

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> Example:
    return self._read([index], lambda: [self.records[index]])[0]

  def __getitems__(self, indices: Sequence[int]) -> list[Example]:
    return self._read(indices, lambda: self.records.__getitems__(indices))

  def listed(self) -> np.ndarray:
    """The numbers i64 [N] of the examples of a whole split in its publisher's lists.

    TFDS wrote it in the order of its keys' hashes.
    """
    if self.known_as not in NUMBERED or not re.fullmatch(r"\w+", self.split):
      raise ConfigError(
        f"{self.name!r} does not say which of its examples is which: TFDS shuffles, "
        f"and its order is known of whole splits of {', '.join(NUMBERED)} alone"
      )
    numbers = range(len(self))
    if self.shuffled:
      numbers = sorted(numbers, key=lambda n: _hash(f"{self.split}{n}"))
    return np.array(numbers)

  def _read(self, indices: Sequence[int], read) -> list[Example]:
    try:
      return [self._example(record) for record in read()]
    except Exception as error:  # readers raise whatever broken bytes lead to
      files = dict.fromkeys(self.shards.file(i) for i in indices)
      reason = " ".join(str(error).split())
      raise UnreadableError(
        f"{' or '.join(files)}: {type(error).__name__}: {reason}"
      ) from error

  def _example(self, record: dict) -> Example:
    label = int(record[self.label_key]) if self.label_key else -1
    return {"image": record[self.image_key], "label": label}


def _hash(key: str) -> str:
  """Hashes as `tensorflow_datasets.core.hashing`, which TFDS keeps for its slices."""
  return hashlib.md5(key.encode()).hexdigest()


def _files(info, split: str) -> list[tuple[str, int, int]]:
  """Lists names, sizes and times of a split's files, where this system knows them."""
  files = []
  for part in info.splits[split].file_instructions:
    with contextlib.suppress(OSError):
      status = os.stat(part.filename)
      name = os.path.basename(part.filename)
      files.append((name, status.st_size, status.st_mtime_ns))
  return files


def splits(
  name: str, *, dir: str = "", train_split: str = "", eval_split: str = ""
) -> Splits:
  """Opens `name` as TFDS writes it: "cifar10", "imagenette/320px-v2", "cifar10:3.0.2".

  `dir`: default is TFDS_DATA_DIR, then TFDS's own default. `train_split`: default
  "train"; `eval_split`: default "validation" or else "test", or nothing.
  """
  return opened(Records, name, dir, train_split, eval_split)


def opened(
  records: Callable[..., Records],
  name: str,
  dir: str,
  train_split: str,
  eval_split: str,
) -> Splits:
  """Opens `name` as `splits` does, each split by `records`(builder, its name)."""
  builder = _open(name, dir)
  infos = builder.info.splits
  train = train_split or "train"
  evaluate = eval_split or next((s for s in EVAL_SPLITS if s in infos), None)
  for field, split in (("train_split", train), ("eval_split", evaluate)):
    try:
      empty = split is not None and not infos[split].num_examples
    except (KeyError, ValueError) as error:
      raise ConfigError(
        f"data.{field}={split!r} is no split of {name!r}: use one of {sorted(infos)}, "
        f"or a slice such as '{next(iter(infos))}[:10%]'"
      ) from error
    if empty:
      raise ConfigError(f"data.{field}={split!r} of {name!r} is empty; widen the slice")
  return Splits(
    records(builder, train), records(builder, evaluate) if evaluate else None
  )


def _open(name: str, data_dir: str):
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import read_only_builder, registered

  chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
  if not NAME.match(name):  # a path, which TFDS would follow out of its folder
    raise ConfigError(_unknown(name, pathlib.Path(chosen)))
  root = as_path(chosen, below=re.split(r"[/:]", name)[0])
  try:
    return read_only_builder.builder_from_files(name, data_dir=root)
  except registered.DatasetNotFoundError:
    pass  # until prepared
  except Exception as error:  # TFDS raises whatever broken files lead to
    folder = root / re.split(r"[/:]", name)[0]
    if folder.is_dir():
      reason = " ".join(f"{type(error).__name__}: {error}".split())
      raise ConfigError(
        f"data.dir: what {str(folder)!r} says of itself cannot be read ({reason}); "
        "copy it anew, or delete it to prepare it again"
      ) from error
  try:
    builder = tfds.builder(name, data_dir=root, file_format="array_record")
  except (registered.DatasetNotFoundError, ValueError) as error:
    raise ConfigError(_unknown(name, root)) from error
  _prepare(builder, name, root)
  return builder


def _unknown(name: str, root: pathlib.Path) -> str:
  import tensorflow_datasets as tfds

  names = ["digits", "folder", *tfds.list_builders(with_community_datasets=False)]
  close = difflib.get_close_matches(name, names, n=3) or ["digits", "folder", "cifar10"]
  return (
    f"data.name={name!r} is neither 'digits' nor 'folder' nor a data set of the TFDS "
    f"catalogue, nor prepared in {str(root)!r}; try {' or '.join(map(repr, close))}"
  )


def _prepare(builder, name: str, root: pathlib.Path) -> None:
  import tensorflow_datasets as tfds

  try:
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
  except ImportError as error:
    raise ConfigError(
      f"data.name={name!r} is not yet in {root}, and preparing it needs {error.name}: "
      "pip install 'ssljax[tf]', or set data.dir to where it is prepared"
    ) from error
  except Exception as error:  # network, disk, manual downloads: TFDS raises anything
    reason = " ".join(str(error).split())
    raise ConfigError(
      f"data.name={name!r} is not in {root} and could not be prepared there; set "
      f"data.dir to where it is, or see to this: {type(error).__name__}: {reason}"
    ) from error
