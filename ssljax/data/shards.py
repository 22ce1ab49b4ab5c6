"""The files of a prepared split: checked when they are opened, read by number."""

import bisect
import concurrent.futures
import itertools
import os
import struct
from collections.abc import Callable, Sequence

from tqdm import tqdm

from ssljax.fields import ConfigError

Spans = list[tuple[int, int]]  # of the records of a file: where they begin and end

LENGTH = 12  # bytes before a record: its length u64, a checksum u32
CHECKSUM = 4  # bytes after it
THREADS = 16  # of far disks


class Shards:
  """The parts of files that a split is, as TFDS lists them: "file instructions"."""

  def __init__(self, parts: Sequence):
    self.parts = list(parts)
    self.ends = list(itertools.accumulate(part.take for part in self.parts))

  def __len__(self) -> int:
    return self.ends[-1]

  def locate(self, index: int) -> tuple[int, int]:
    """Finds an example by its number -> the number of its part, its place there."""
    number = bisect.bisect_right(self.ends, index)
    part = self.parts[number]
    return number, index - (self.ends[number] - part.take) + part.skip

  def file(self, index: int) -> str:
    """Names the file in which an example lies."""
    return self.parts[self.locate(index)[0]].filename

  def check(self, count: Callable[[str], int], name: str) -> None:
    """Raises ValueError, naming the file that is not what was prepared.

    `count` tells how many records a file holds, and raises what broken bytes lead to.
    """
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
      errors = pool.map(lambda part: _wrong(part, count), self.parts)
      for error in tqdm(errors, f"checking {name}", len(self.parts), delay=2):
        if error:
          raise ConfigError(
            f"data.dir: {error}; it is missing, cut short or damaged: copy it anew, or "
            "delete the folder of the data set to prepare it again"
          )


def _wrong(part, count: Callable[[str], int]) -> str:
  try:
    records = count(part.filename)
  except Exception as error:  # readers raise whatever broken bytes lead to
    reason = " ".join(str(error).split())
    return f"{part.filename!r} cannot be read ({type(error).__name__}: {reason})"
  if records != part.examples_in_shard:
    right = part.examples_in_shard
    return f"{part.filename!r} holds {records} records and should hold {right}"
  return ""


def count_array_records(file: str) -> int:
  """Counts the records of an ArrayRecord file, from the file's own index."""
  from array_record.python import array_record_module

  reader = array_record_module.ArrayRecordReader(file)
  try:
    return reader.num_records()
  finally:
    reader.close()


class TFRecords:
  """Reads a split prepared as TFRecord, the format without an index, at random.

  A record is its length u64, a checksum u32, the bytes, a checksum u32. Opening walks
  over the lengths once; files are read on demand, not mapped: a disk that vanishes
  under a mapped file ends the process.
  """

  def __init__(self, shards: Shards, features, decoders: dict):
    self.shards, self.features, self.decoders = shards, features, decoders
    self.spans: dict[str, Spans] = {}

  def count(self, file: str) -> int:
    """Counts the records that a file holds; finds them on the way."""
    self.spans[file] = spans(file)
    return len(self.spans[file])

  def __len__(self) -> int:
    return len(self.shards)

  def __getitem__(self, index: int) -> dict:
    part, place = self.shards.locate(index)
    file = self.shards.parts[part].filename
    start, stop = self.spans[file][place]
    with open(file, "rb", buffering=0) as f:
      record = os.pread(f.fileno(), stop - start, start)
    if len(record) < stop - start:
      raise EOFError(f"the file ends within record {place}")
    return self.features.deserialize_example_np(record, decoders=self.decoders)

  def __getitems__(self, indices: Sequence[int]) -> list[dict]:
    return [self[i] for i in indices]


def spans(file: str) -> Spans:
  """Finds where the records of a TFRecord file lie. Raises EOFError where it is cut."""
  records, position = [], 0
  with open(file, "rb", buffering=0) as f:
    size = f.seek(0, os.SEEK_END)
    while position < size:
      head = os.pread(f.fileno(), 8, position)
      length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
      start = position + LENGTH
      position = start + length + CHECKSUM
      if position > size:
        raise EOFError(f"record {len(records)} ends {position - size} bytes after it")
      records.append((start, start + length))
  return records
