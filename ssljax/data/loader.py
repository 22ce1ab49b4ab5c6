"""Batches in an order that is a function of (seed, epoch), from any step on.

In memory and streaming give the same batches bit for bit; so do one process and the
shares of several, put together. B is the global batch, P the number of processes.
"""

import contextlib
import functools
import queue
import threading
from collections.abc import Iterator

import numpy as np

from ssljax.data import reader
from ssljax.data.reader import Batch
from ssljax.data.source import Source
from ssljax.fields import ConfigError

ENDLESS = 2**40  # steps


@functools.lru_cache(maxsize=2)  # of the epoch that ends and the one that begins
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  """Permutes the examples of an epoch: [N] i64, a function of (seed, epoch) alone.

  Sorts raw bits, which NumPy promises never to change.
  """
  bits = np.random.PCG64([seed, epoch]).random_raw(num_examples)
  order = np.argsort(bits, kind="stable")
  order.flags.writeable = False  # all callers share it
  return order


class Loader:
  """Endless training batches; an epoch's last, incomplete one is left out."""

  def __init__(self, source, batch_size, seed, opened, process_index, process_count):
    self.num_examples = len(source)
    self.spec = opened.spec
    self.batch_size = batch_size
    self.seed = seed
    self.steps_per_epoch = self.num_examples // batch_size
    self._reader = opened
    share = batch_size // process_count
    self._share = slice(process_index * share, (process_index + 1) * share)

  @property
  def unreadable(self) -> dict[int, str]:
    """The examples met so far that could not be decoded, and why."""
    return self._reader.unreadable

  @property
  def whole(self) -> Batch | None:
    """All examples [N,...] where they are in memory; None: they are streamed."""
    return self._reader.arrays

  def complaint(self) -> str:
    """Says which examples could not be decoded; "" where there are none."""
    reasons = list(self.unreadable.values())
    if not reasons:
      return ""
    named = reasons[: reader.NAMED]
    if len(reasons) > len(named):
      named.append(f"and {len(reasons) - len(named):,} more")
    count = f"Unreadable examples, each replaced by the next: {len(reasons):,}"
    return "\n  ".join((count, *named))

  def iterate(self, start_step: int = 0) -> Iterator[Batch]:
    """Yields the batch of every step from `start_step` on, a process's share [B/P]."""
    return self._reader.batches(self._rows, start_step, ENDLESS)

  def numbers(self, start_step: int = 0) -> Iterator[Batch]:
    """Yields each step's "row" i32 [B/P] of `whole`: `iterate` gathers these."""
    for step in range(start_step, ENDLESS):
      yield {"row": self._rows(step).astype(np.int32)}

  def _rows(self, step: int) -> np.ndarray:
    epoch, step = divmod(step, self.steps_per_epoch)
    order = epoch_order(self.seed, epoch, self.num_examples)
    return order[step * self.batch_size :][self._share]

  def cure(self, factor: float) -> str:
    """Says what lets examples be read `factor` times as fast."""
    return self._reader.cure(factor)

  def state(self, step: int) -> dict[str, int]:
    """Returns the position before `step`, and all that the order depends on."""
    return {
      "next_index": step * self.batch_size,
      "num_examples": self.num_examples,
      "seed": self.seed,
    }

  def check(self, saved: dict[str, int], step: int) -> None:
    """Raises ConfigError unless `saved` is where this loader stands before `step`."""
    for field, value in self.state(step).items():
      if saved[field] != value:
        raise ConfigError(
          f"the checkpoint of step {step} was written at {field}={saved[field]}, this "
          f"run's data gives {value}; keep seed, batch_size and data as they were, or "
          "start in a new workdir"
        )


def make_loader(
  source: Source,
  batch_size: int,
  seed: int,
  *,
  size: int,
  in_memory: bool,
  workers: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Loader:
  """Opens endless batches of canvases of `size` pixels; `batch_size` is global.

  `in_memory` decodes everything now. Raises ValueError in one sentence, before
  anything is read.
  """
  _check_processes(batch_size, process_count)
  if batch_size > len(source):
    raise ConfigError(
      f"batch_size={batch_size} is more than the {len(source)} training examples of "
      f"{source.name!r}; try {len(source) // process_count * process_count}"
    )
  opened = reader.open_reader(source, size, in_memory, workers)
  return Loader(source, batch_size, seed, opened, process_index, process_count)


def eval_batches(
  source: Source,
  batch_size: int,
  *,
  size: int,
  in_memory: bool,
  workers: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Yields one pass in order, this process's share [B/P], with "mask" bool [B/P].

  The mask leaves out what fills up the last batch and what cannot be decoded.
  """
  _check_processes(batch_size, process_count)
  opened = reader.open_reader(source, size, in_memory, workers)
  share = batch_size // process_count
  offsets = np.arange(process_index * share, (process_index + 1) * share)
  last, steps = len(source) - 1, -(-len(source) // batch_size)

  def rows(step: int) -> np.ndarray:
    return np.minimum(step * batch_size + offsets, last)

  def masked() -> Iterator[Batch]:
    for step, batch in enumerate(opened.batches(rows, 0, steps)):
      yield batch | {"mask": batch["index"] == step * batch_size + offsets}

  return masked()


def prefetch(iterator: Iterator, n: int) -> Iterator:
  """Yields the items of `iterator`, up to `n` >= 1 of them made ahead in a thread.

  An exception of `iterator` is raised where its item would have come. Closing this
  generator (or dropping it) stops the thread and closes `iterator`.
  """
  items, end, closed = queue.Queue(n), object(), threading.Event()

  def put(item):
    while not closed.is_set():
      with contextlib.suppress(queue.Full):  # nobody asked; will anybody still?
        return items.put(item, timeout=0.1)

  def work():
    try:
      for item in iterator:
        put((item, None))
        if closed.is_set():
          break
      put((end, None))
    except BaseException as error:
      put((end, error))
    finally:
      if hasattr(iterator, "close"):
        iterator.close()

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while (pair := items.get())[0] is not end:
      yield pair[0]
    if pair[1] is not None:
      raise pair[1]
  finally:
    closed.set()
    thread.join()


def _check_processes(batch_size: int, process_count: int) -> None:
  if batch_size < 1 or batch_size % process_count:
    raise ConfigError(
      f"batch_size={batch_size} must be a positive multiple of the {process_count} "
      f"processes; try {max(1, batch_size // process_count) * process_count}"
    )
