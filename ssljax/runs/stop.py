"""Ctrl-C and SIGTERM: where there are steps to save they are, elsewhere all ends."""

import os
import signal
import threading
from collections.abc import Callable

import jax

from ssljax.checkpoint import Checkpoints

NUMBERS = (signal.SIGINT, signal.SIGTERM)
HEARD = b"\nStopping: the steps are being saved; once more ends it at once.\n"

answered = 0  # the signal that the last run ended for, in order
_run: "Stop | None" = None  # that is under way
_end: Callable[[int], None] | None = None  # how the program ends, where it is one


class StoppedError(Exception):
  """Raised where an evaluation ends early, because the run was asked to end."""


class Stop:
  """Remembers a signal, while entered and once there is something to save.

  The loop then ends in order; a second signal ends the program. Several processes must
  end at the same step: there JAX's own service listens for SIGTERM, and Ctrl-C is one.
  """

  def __enter__(self) -> "Stop":
    global _run, answered
    answered = 0
    self.number, self._holding, self._before = 0, False, {}
    self._alone = jax.process_count() == 1
    _run = self
    return self

  def hold(self) -> None:
    """Tells the handler that from here on there are steps to save."""
    if self._holding:
      return
    self._holding = True
    if _end is None and threading.current_thread() is threading.main_thread():
      for number in NUMBERS if self._alone else (signal.SIGINT,):
        self._before[number] = signal.signal(number, lambda number, _: heard(number))

  def hear(self, number: int) -> bool:
    """Whether this signal is answered by ending in order."""
    global answered
    if self.number or not self._holding:
      return False
    self.number = answered = number
    os.write(2, HEARD)
    if not self._alone:
      os.kill(os.getpid(), signal.SIGTERM)
    self._put_back()
    return True

  def due(self, dispatch: int, checkpoints: Checkpoints) -> bool:
    """Whether the run ends after this dispatch, on every process alike."""
    return self.asked if self._alone else checkpoints.reached_preemption(dispatch)

  @property
  def asked(self) -> bool:
    """Whether the one process of this run was asked to end."""
    return self._alone and self.number > 0

  def _put_back(self) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def __exit__(self, *_) -> None:
    global _run
    _run = None
    self._put_back()


def check() -> None:
  """Raises StoppedError, between two batches, where the run was asked to end."""
  if _run and _run.asked:
    raise StoppedError


def heard(number: int) -> None:
  """Passes on a signal, in whatever thread it comes."""
  if not (_run and _run.hear(number)) and _end:
    _end(number)


def watch(end: Callable[[int], None]) -> None:
  """Hears a program's signals at once, whatever C++ is busy with, and ends it by `end`.

  `end` ends it where nothing is to be saved. What was ignored so far stays so.
  """
  global _end
  _end = end
  heard_at, told_at = os.pipe()
  os.set_blocking(told_at, False)
  signal.set_wakeup_fd(told_at, warn_on_full_buffer=False)
  for number in NUMBERS:
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, lambda *_: None)
  threading.Thread(target=_listen, args=(heard_at,), daemon=True).start()


def _listen(pipe: int) -> None:
  while number := os.read(pipe, 1):
    if number[0] in NUMBERS:
      heard(number[0])
