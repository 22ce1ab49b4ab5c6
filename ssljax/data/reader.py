"""From example numbers to host batches: kept in memory, or decoded when asked for.

A batch of pictures is {"image": uint8 [B,S,S,3], "extent": i32 [B,2] (its rows and
columns in use), "aspect": f32 [B] (true width / height), "label": i32 [B] (-1: none),
"index": i32 [B]}; in general it is what the source's `spec` says.
"""

import collections
import concurrent.futures
import math
import os
import pathlib
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import logging
from tqdm import tqdm

from ssljax.data.codec import DataGoneError, Example, Spec, UnreadableError
from ssljax.data.source import Source
from ssljax.fields import ConfigError

Batch = dict[str, np.ndarray]
Rows = Callable[[int], np.ndarray]  # step -> the numbers of its examples

CHUNK = 256  # examples that one call decodes while data is put in memory
AHEAD = 3  # batches that are decoded while one is consumed
ROWS = 8  # of such a batch that one call decodes
GIVE_UP = 100  # unreadable examples in a row
NAMED = 10  # unreadable examples that are named; the others are counted


def zeros(spec: Spec, rows: int) -> Batch:
  """Makes a batch of `rows` zeros, of the shapes and types of `spec`."""
  return {
    name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in spec.items()
  }


class Reader:
  """Decodes examples of a source.

  An unreadable one is replaced by the next readable one, label and index included,
  whoever asks; `unreadable` maps its number to what is wrong with it.
  """

  def __init__(self, source: Source, size: int):
    self.source, self.codecs = source, source.codecs(size)
    self.spec = source.spec(size)
    self.unreadable: dict[int, str] = {}

  def fill(self, batch: Batch, start: int, indices: np.ndarray) -> None:
    """Writes examples `indices` [n] into rows start to start + n of the batch."""
    indices = indices.tolist()
    examples = self.examples(indices)
    for row, (index, example) in enumerate(zip(indices, examples, strict=True), start):
      self._fill(batch, row, index, example)

  def examples(self, indices: list[int]) -> Sequence[Example | None]:
    """Reads examples, undecoded; None for all of them where one cannot be read."""
    try:
      return self.source.__getitems__(indices)
    except UnreadableError:  # one of them; which, each alone will tell
      return [None] * len(indices)

  def _warn(self, index: int, error: UnreadableError) -> None:
    if len(self.unreadable) <= NAMED:
      logging.warning("Example %d of %s: %s", index, self.source.name, error)
    if len(self.unreadable) == NAMED:
      logging.warning("Others of %s that are unreadable are counted", self.source.name)

  def _fill(self, batch: Batch, row: int, index: int, example: Example | None) -> None:
    for _ in range(GIVE_UP):
      try:
        example = example or self.source[index]
        for codec in self.codecs:
          codec.fill(example, batch, row)
        batch["label"][row], batch["index"][row] = example["label"], index
        return
      except UnreadableError as error:
        self.check_there(error)
        if index not in self.unreadable:
          self.unreadable[index] = str(error)
          self._warn(index, error)
        reason = error
      index, example = (index + 1) % len(self.source), None
    raise DataGoneError(
      f"{GIVE_UP} examples in a row of {self.source.name!r} are unreadable, the last "
      f"one because of {reason}; check the data"
    )

  def check_there(self, error: UnreadableError) -> None:
    """Raises DataGoneError where what the examples lie in can no longer be read."""
    if gone := self.source.root and _gone(self.source.root):
      raise DataGoneError(f"{str(self.source.root)!r} {gone}") from error


def _gone(folder: pathlib.Path) -> str:
  """Says why nothing can be read there; "" where something can."""
  try:
    with os.scandir(folder) as entries:
      return "" if next(entries, None) else "is empty now"
  except NotADirectoryError:
    return ""
  except OSError as error:
    return f"cannot be read any more: {error.strerror}"


def _died(source: Source, error: Exception) -> str:
  """Says what a thread died of, and on which line."""
  *_, line = traceback.extract_tb(error.__traceback__)
  place = f"{pathlib.Path(line.filename).name}, line {line.lineno}"
  reason = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
  return f"a thread that decodes {source.name!r} died at {place}, of {reason}"


def _memory(reader: Reader) -> tuple[int, int]:
  """Counts the bytes that all examples need decoded, and those of this machine."""
  sizes = ((math.prod(s), np.dtype(d)) for s, d in reader.spec.values())
  need = len(reader.source) * sum(count * dtype.itemsize for count, dtype in sizes)
  return need, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class InMemory:
  """Holds the whole source, an array an entry; a batch is one gather."""

  def __init__(self, reader: Reader, workers: int):
    self.unreadable, self.spec = reader.unreadable, reader.spec
    n = len(reader.source)
    need, machine = _memory(reader)
    if need > machine:
      raise ConfigError(
        f"data.in_memory=True needs {need / 2**30:.0f} GiB for {n} examples, more than "
        f"this machine's {machine / 2**30:.0f}; set data.in_memory=False"
      )
    self.arrays = zeros(reader.spec, n)
    chunks = [np.arange(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      done = pool.map(lambda chunk: reader.fill(self.arrays, chunk[0], chunk), chunks)
      for _ in tqdm(done, f"decoding {reader.source.name}", len(chunks), delay=2):
        pass

  def cure(self, factor: float) -> str:
    """Says what lets batches be gathered faster."""
    return "they are in memory: data.on_device='yes' spares their way to the devices"

  def batches(self, rows: Rows, start: int, stop: int) -> Iterator[Batch]:
    """Yields the batches of steps `start` to `stop`, gathered from memory."""
    for step in range(start, stop):
      indices = rows(step)
      yield {k: v.take(indices, axis=0) for k, v in self.arrays.items()}


class Streaming:
  """Decodes batches in threads, a few of them ahead, each straight into its rows.

  Pillow decodes and scales outside Python's lock: of the 2.5 ms that a photo of 500 x
  375 costs, about 0.1 ms is Python: that bounds one process at some twenty cores.
  """

  arrays = None

  def __init__(self, reader: Reader, workers: int):
    self.reader, self.workers = reader, workers
    self.unreadable, self.spec = reader.unreadable, reader.spec

  def cure(self, factor: float) -> str:
    """Says what lets examples be decoded `factor` times as fast, or once."""
    need, machine = _memory(self.reader)
    if need <= machine / 2:
      return f"set data.in_memory=True, which takes {need / 2**30:.1f} GiB"
    cores, wanted = os.cpu_count(), math.ceil(factor * self.workers)
    if self.workers < cores:
      return f"set data.workers={min(wanted, cores)}"
    source = self.reader.source
    less = "decode once (configs/eval/prepare.py)" if source.origin is source else ""
    less = less or "read a smaller data.size"
    return f"all {cores} cores read, and it takes {wanted}: {less}"

  def batches(self, rows: Rows, start: int, stop: int) -> Iterator[Batch]:
    """Yields the batches of steps `start` to `stop`; decodes nothing before `start`.

    DataGoneError where a thread dies, of whatever: what was learned can then be saved.
    """
    ahead = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(self.workers)
    try:
      for step in range(start, stop):
        ahead.append(self._begin(pool, rows(step)))
        if len(ahead) > AHEAD:
          yield _done(*ahead.popleft())
      while ahead:
        yield _done(*ahead.popleft())
    except (ConfigError, OSError):  # which are sentences
      raise
    except Exception as error:
      raise DataGoneError(_died(self.reader.source, error)) from error
    finally:
      pool.shutdown(cancel_futures=True)

  def _begin(self, pool: concurrent.futures.Executor, indices: np.ndarray):
    """Has a batch decoded, some rows a task -> it, not yet filled, and the tasks."""
    size = len(indices)
    batch, most = zeros(self.spec, size), min(ROWS, -(-size // self.workers))
    tasks = [
      pool.submit(self.reader.fill, batch, row, indices[row : row + most])
      for row in range(0, size, most)
    ]
    return batch, tasks


def _done(batch: Batch, tasks: list[concurrent.futures.Future]) -> Batch:
  """Waits until a batch is filled, or raises what one of its tasks did."""
  for task in tasks:
    task.result()
  return batch


_in_memory: weakref.WeakKeyDictionary[Source, dict[int, InMemory]] = (
  weakref.WeakKeyDictionary()
)


def open_reader(
  source: Source, size: int, in_memory: bool, workers: int
) -> InMemory | Streaming:
  """Opens what maps indices to batches: in memory, or decoded when asked for.

  Training and evaluation share what is in memory of one source. `workers`: threads;
  0 takes every core.
  """
  if size < 1:
    raise ConfigError(f"data.size={size} must be at least 1 pixel; try 32 or 256")
  if workers < 0:
    raise ConfigError(f"data.workers={workers} must be 0 (every core) or more; try 0")
  workers = workers or os.cpu_count()
  if not in_memory:
    return Streaming(Reader(source, size), workers)
  by_size = _in_memory.setdefault(source, {})
  if size not in by_size:
    by_size[size] = InMemory(Reader(source, size), workers)
  return by_size[size]
