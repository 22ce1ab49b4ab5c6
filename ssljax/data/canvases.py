"""Canvases on disk, decoded once: raw, or as JPEGs, and the index of both.

A split is a folder of shards of many examples each: `00000.npy`, u8 [n,S,S,C], which
NumPy maps as it is, or `00000.jpegs`, JPEGs one behind the other. Beside it lies its
index `00000.npz`, written last: a shard without one was not finished.
"""

import itertools
import math
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ssljax.data import jpeg
from ssljax.data.codec import Codec, Example, Spec, UnreadableError
from ssljax.data.decode import decode, lay
from ssljax.data.npz import BROKEN
from ssljax.fields import ConfigError

FORMS = {"raw": ".npy", "jpeg": ".jpegs"}  # and the ending of their shards
RAW_BYTES = 2**28  # of a raw shard, about
JPEGS = 4096  # of a shard
BLOCK = 2**24  # bytes read at a time while a shard is checked
OWN = ("label", "start", "length")  # of an index, an entry each example


class Layout(NamedTuple):
  """How the canvases of a split lie on the disk."""

  form: str  # one of FORMS
  spec: Spec  # of a canvas and what goes with it, "image" among them
  rows: int  # of a shard; the last may have fewer
  examples: int

  @property
  def shards(self) -> list[range]:
    """The numbers of each shard's examples."""
    starts = range(0, self.examples, self.rows)
    return [range(i, min(i + self.rows, self.examples)) for i in starts]


def bytes_of(spec: Spec) -> int:
  """Counts the bytes of a raw canvas."""
  shape, dtype = spec["image"]
  return math.prod(shape) * np.dtype(dtype).itemsize


def rows_of(form: str, spec: Spec) -> int:
  """Counts the examples of a shard that is to be written."""
  return JPEGS if form == "jpeg" else max(1, RAW_BYTES // bytes_of(spec))


class Row(NamedTuple):
  """An example as it is written."""

  stored: bytes | np.ndarray  # nothing where it is unreadable
  label: int
  entries: dict[str, Any]  # what goes with the canvas, by the layout's spec
  reason: str = ""  # why it is unreadable


class Stored(NamedTuple):
  """Where a canvas lies: bytes `start` to `start` + `length` of a file."""

  file: str
  start: int
  length: int

  def read_into(self, buffer: memoryview) -> None:
    """Reads the bytes into a buffer of as many. Raises UnreadableError."""
    try:
      with open(self.file, "rb", buffering=0) as file:
        file.seek(self.start)
        count = file.readinto(buffer)
    except OSError as error:
      raise UnreadableError(f"{self.file}: {error.strerror}") from error
    if count < self.length:
      raise UnreadableError(f"{self.file} ends {self.length - count} bytes too soon")


class Canvas(Codec):
  """Gives an example's canvas as it was stored, and what was stored with it."""

  def __init__(self, form: str, spec: Spec):
    self.form, self._spec = form, spec

  @property
  def spec(self):
    """Describes what the codec gave that decoded the canvases."""
    return self._spec

  def decode(self, example):
    """Decodes "image", which is `Stored`; the rest is as it is."""
    spec = self._spec.items()
    batch = {name: np.empty((1, *shape), dtype) for name, (shape, dtype) in spec}
    self.fill(example, batch, 0)
    return {name: x[0] for name, x in batch.items()}

  def fill(self, example, batch, row):
    """Reads raw bytes straight into a row, or lays a JPEG in its corner."""
    canvas, stored = batch["image"][row], example["image"]
    if self.form == "raw":
      stored.read_into(memoryview(canvas).cast("B"))
    else:
      file = bytearray(stored.length)
      stored.read_into(memoryview(file))
      file = bytes(file)
      if not jpeg.decode_into(file, canvas):
        lay(decode(file, len(canvas))[0], canvas)
    for name in _entries(self._spec):
      batch[name][row] = example[name]


class Canvases:
  """The canvases of a split, by number. Files are read on demand, not mapped.

  A disk that vanishes under a mapped file ends the process; this is a sentence.
  """

  def __init__(self, folder: pathlib.Path, layout: Layout):
    """Opens a finished folder; ConfigError names the file that is missing or cut."""
    self.folder, self.layout = folder, layout
    shards = range(len(layout.shards))
    self.files = [str(data_file(folder, layout, number)) for number in shards]
    indices = []
    for number, numbers in enumerate(layout.shards):
      index, problem = read_index(folder, layout, number)
      if problem:
        raise ConfigError(problem)
      indices.append((numbers, index))
    names = *OWN, *_entries(layout.spec)
    self.columns = {
      name: np.concatenate([index[name] for _, index in indices]) for name in names
    }
    self.reasons = {
      numbers[place]: str(reason)
      for numbers, index in indices
      for place, reason in zip(
        np.flatnonzero(index["length"] == 0), index["reason"], strict=True
      )
    }

  def __len__(self) -> int:
    return self.layout.examples

  def __getitem__(self, index: int) -> Example:
    start, length = (int(self.columns[name][index]) for name in ("start", "length"))
    if not length:
      raise UnreadableError(self.reasons[index])
    file = self.files[index // self.layout.rows]
    entries = {k: x[index] for k, x in self.columns.items() if k not in OWN}
    label = int(self.columns["label"][index])
    return {"image": Stored(file, start, length), "label": label, **entries}


def data_file(folder: pathlib.Path, layout: Layout, number: int) -> pathlib.Path:
  """Names the file that holds a shard's canvases."""
  return folder / f"{number:05d}{FORMS[layout.form]}"


def index_file(folder: pathlib.Path, number: int) -> pathlib.Path:
  """Names the index of a shard."""
  return folder / f"{number:05d}.npz"


def read_index(
  folder: pathlib.Path, layout: Layout, number: int
) -> tuple[dict[str, np.ndarray], str]:
  """Reads a shard's index -> its arrays, and "" or the sentence of what is wrong.

  Its file must be there in full length; what it holds, `check` looks at.
  """
  path, file = index_file(folder, number), data_file(folder, layout, number)
  names = {*OWN, *_entries(layout.spec), "reason", "bytes", "crc"}
  again = "; the line of configs/eval/prepare.py that made it makes it whole again"
  if not path.exists():
    return {}, f"{str(path)!r} is missing, as where the preparing was stopped{again}"
  try:
    with np.load(path) as arrays:
      index = {name: arrays[name] for name in names}
    size = file.stat().st_size
  except (*BROKEN, KeyError) as error:
    name = file if isinstance(error, OSError) and error.filename == str(file) else path
    return {}, f"{str(name)!r} is damaged ({type(error).__name__}: {error}){again}"
  if len(index["label"]) != len(layout.shards[number]):
    rows = len(layout.shards[number])
    return {}, f"{str(path)!r} has {len(index['label'])} rows and not {rows}{again}"
  if size != index["bytes"]:
    right = int(index["bytes"])
    return {}, f"{str(file)!r} has {size:,} bytes and should have {right:,}{again}"
  return index, ""


def check(folder: pathlib.Path, layout: Layout, number: int) -> str:
  """Reads a whole shard -> "" or the sentence of what is wrong with it."""
  index, problem = read_index(folder, layout, number)
  if problem:
    return problem
  path, crc = data_file(folder, layout, number), 0
  with path.open("rb") as file:
    while block := file.read(BLOCK):
      crc = zlib.crc32(block, crc)
  if crc != index["crc"]:
    return f"{str(path)!r} is damaged: its checksum is not what was written"
  return ""


def write_shard(
  folder: pathlib.Path, layout: Layout, number: int, rows: Iterable[Row]
) -> None:
  """Writes a shard, then its index; of one that is not finished nothing is left."""
  path = data_file(folder, layout, number)
  shape, dtype = layout.spec["image"]
  shape = len(layout.shards[number]), *shape
  columns: dict[str, list] = {k: [] for k in (*OWN, *_entries(layout.spec))}
  reasons, crc = [], 0

  def write(file):
    nonlocal crc
    position = 0
    header = _npy_header(shape, dtype) if layout.form == "raw" else b""
    for row in itertools.chain([None], rows):
      stored = memoryview(header if row is None else row.stored).cast("B")
      file.write(stored)
      crc = zlib.crc32(stored, crc)
      if row is not None:
        length = 0 if row.reason else stored.nbytes
        values = {"label": row.label, "start": position, "length": length}
        for name, value in {**values, **row.entries}.items():
          columns[name].append(value)
        reasons.extend([row.reason] if row.reason else [])
      position += stored.nbytes
    columns["bytes"] = position

  whole(path, write)
  dtypes = {"label": "int32", "start": "int64", "length": "int64", "bytes": "int64"}
  dtypes |= {name: dtype for name, (_, dtype) in _entries(layout.spec).items()}
  index = {name: np.array(values, dtypes[name]) for name, values in columns.items()}
  index |= {"reason": np.array(reasons, np.str_), "crc": np.uint32(crc)}
  whole(index_file(folder, number), lambda file: np.savez(file, **index))


def whole(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
  """Writes a file through one of another name: it is there whole, or not at all."""
  part = path.with_name(path.name + ".part")
  try:
    with part.open("wb") as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def _npy_header(shape: Sequence[int], dtype: str) -> bytes:
  kind = np.dtype(dtype).str
  fields = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
  length = -(-(10 + len(fields) + 1) // 64) * 64 - 10  # rows begin at a multiple of 64
  return (
    b"\x93NUMPY\1\0"
    + length.to_bytes(2, "little")
    + (fields.ljust(length - 1) + "\n").encode()
  )


def _entries(spec: Spec) -> Spec:
  """The arrays that go with a canvas, such as its "extent" and "aspect"."""
  return {name: value for name, value in spec.items() if name != "image"}
