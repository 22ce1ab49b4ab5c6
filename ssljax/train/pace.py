"""How fast steps go: whether they wait for data, how many a dispatch should take."""

import collections
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ssljax.checkpoint import Checkpoints
from ssljax.core import Metrics

WAITING = 0.2  # of the time, from which it is said that data are waited for
WINDOW = 5.0  # seconds at least over which that is judged
SLOW = 1.0  # seconds that a checkpoint is waited for, from which that is judged
SHORT = 0.005  # seconds of a step below which several are dispatched at once
LASTS = 0.03  # seconds that such a dispatch is to last
WORTH = 300.0  # seconds that must be left for it: it is compiled besides
MEASURED = 8  # first steps of a run, of which the last five are clocked


class Pace:
  """Clocks a run's dispatches, and says once where they wait for data."""

  def __init__(self, batch_size: int, cure: Callable[[float], str], since: float):
    """`cure(factor)` says how data are read so many times as fast.

    `since` is when the run was called, by `time.monotonic`.
    """
    self.batch_size, self.cure, self.since = batch_size, cure, since
    self.done = collections.deque(maxlen=6)  # when a dispatch was, of how many steps
    self.alone = math.inf  # seconds of a step whose data was there
    self.asked, self.said, self.dispatches = False, False, 0
    self.saved_at, self.said_of_disk = math.nan, False
    self.begin()

  def begin(self) -> None:
    """Begins a window: after what was no training."""
    self.began, self.waited, self.steps = time.monotonic(), 0.0, 0

  def waits(self, batches: Iterator) -> Iterator:
    """Yields the batches, and clocks how long each is waited for."""
    while True:
      asked_at = time.monotonic()
      batch = next(batches, None)
      self.came = time.monotonic()
      self.waited += self.came - asked_at
      if batch is None:
        return
      yield batch

  def dispatched(self, count: int, metrics: Metrics) -> int:
    """Counts the dispatches, and their steps -> how many there were so far.

    Waits for this one where it is asked what a step takes whose data was there.
    """
    self.steps, self.dispatches = self.steps + count, self.dispatches + 1
    if self.asked:
      jax.block_until_ready(metrics)
      self.alone = min(self.alone, (time.monotonic() - self.came) / count)
      self.asked = False
    return self.dispatches

  def finished(self, count: int) -> None:
    """Notes that the steps of one more dispatch are done."""
    self.done.append((time.monotonic(), count))

  def steps_per_dispatch(self, most: float, left: int) -> tuple[int, str]:
    """Chooses how many steps a dispatch takes from here on -> it, and a sentence.

    At most `most`, and one unless the last five were short: longer ones hide what the
    host does between them. `left` is how many are to come.
    """
    if len(self.done) < 2:
      return 1, ""
    (began, _), *rest = self.done
    seconds = (rest[-1][0] - began) / sum(count for _, count in rest)
    if seconds >= SHORT or seconds * left < WORTH:
      return 1, ""
    k = int(max(1, min(math.ceil(LASTS / seconds), most)))
    note = f"A step takes {1e3 * seconds:.1f} ms: {k} a dispatch from here on."
    return k, note

  def complaint(self) -> str:
    """Says, once, that the run waits for its data, how much, and the cure; "": no.

    Asked at the end of a window. What one step takes is clocked in the next.
    """
    seconds, steps = time.monotonic() - self.began, self.steps
    if self.said or seconds < WINDOW or not steps:
      return ""
    share = self.waited / seconds
    self.begin()
    self.asked = share > WAITING and self.alone == math.inf
    # While it waits the last step may still run: only what is beyond that is lost.
    lost = min(share, 1 - self.alone * steps / seconds)
    if lost <= WAITING:
      return ""
    self.said = True
    read, could = self.batch_size * steps / seconds, self.batch_size / self.alone
    return (
      f"The run waits for its data {lost:.0%} of the time: it reads {read:,.0f} "
      f"examples a second and could train on {could:,.0f}; {self.cure(could / read)}."
    )

  def saved(self, checkpoints: Checkpoints) -> str:
    """Says, once, that the run waits for its disk, how much, and the cure; "": no.

    Asked whenever a checkpoint has been begun, which waits until the one before is
    written.
    """
    now, waited = time.monotonic(), checkpoints.waited
    seconds, self.saved_at = now - self.saved_at, now
    slow = waited > SLOW and waited > WAITING * seconds  # never at the first: nan
    if self.said_of_disk or not slow:
      return ""
    self.said_of_disk = True
    steps, every = max(seconds - waited, waited / 99), checkpoints.every_steps
    return (
      f"The run waits for its disk {waited / seconds:.0%} of the time: a checkpoint is "
      f"written in {seconds:.1f} s, and the steps between two take {steps:.1f}; set "
      f"checkpoint.every_steps={math.ceil(every * seconds / steps)}."
    )


class Profile:
  """Traces the steps after `start`, `count` of them, for xprof or TensorBoard."""

  def __init__(self, span: tuple[int, int] | None, folder: Any):
    self.start, count = span or (-1, 0)
    self.end, self.folder, self.running = self.start + count, folder, False

  @property
  def marks(self) -> tuple[int, int]:
    """The steps at which a dispatch must end."""
    return self.start, self.end

  def before(self, done: int) -> None:
    """Begins the trace where its first step is next."""
    if done == self.start:
      jax.profiler.start_trace(str(self.folder))
      self.running = True

  def after(self, done: int, metrics: Metrics) -> str:
    """Ends the trace once its last step is done, or at once -> where it is; "": not."""
    if not self.running or done < self.end:
      return ""
    jax.block_until_ready(metrics)
    return self.stop()

  def stop(self) -> str:
    """Ends a trace that is under way, and writes it -> where it is; "": none is."""
    if not self.running:
      return ""
    self.running = False
    jax.profiler.stop_trace()
    return f"The trace of steps {self.start + 1} to {self.end} is in {self.folder}."
