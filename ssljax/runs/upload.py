"""A run whose folder is the copy of one in an object store: claimed, and sent there."""

import contextlib
import json
import os
import pathlib
import platform
import threading
import time
import uuid
from collections.abc import Iterator

from absl import logging

from ssljax.fields import ConfigError, listings, stores
from ssljax.runs import WriteError

BEAT = 10.0  # seconds between an owner's signs of life
PATIENCE = 3 * BEAT + 1  # without one it is taken for dead
EVERY = 60.0  # seconds between two sendings


@contextlib.contextmanager
def uploaded(workdir: pathlib.Path) -> Iterator[None]:
  """Sends what a run writes in `workdir` each minute, and at its end; keeps others out.

  Of a folder that is no copy, nothing. ConfigError where another run is in it;
  WriteError where the end could not be sent.
  """
  copy = next((c for c in stores.COPIES.values() if c.path == workdir), None)
  if copy is None:
    yield
    return
  if not copy.claim():
    raise ConfigError(
      f"--workdir={copy.address} belongs to a run that is under way on this machine; "
      "wait for it, stop it, or name another"
    )
  try:
    claim = Claim(copy)
    try:
      copy.fetch()  # another may have written until a moment ago
      with _sent(copy, claim):
        yield
    finally:
      claim.release()
  finally:
    copy.release()
  print(f"It is in {copy.address} as well.", flush=True)


@contextlib.contextmanager
def returned() -> Iterator[None]:
  """Sends at its end what was written in copies: what a protocol found in a run."""
  yield
  for copy in list(stores.COPIES.values()):
    with _told(copy):
      copy.send(gone=False)


@contextlib.contextmanager
def _sent(copy: stores.Copy, claim: "Claim") -> Iterator[None]:
  """Sends each minute, and at the end, however that comes."""
  over = threading.Event()

  def sending():
    while not over.wait(EVERY):
      try:
        claim.check()
        copy.send()
      except Exception as error:  # the run goes on, and it is tried again
        logging.warning("%s is not written to now (%s)", copy.address, error)

  thread = threading.Thread(target=sending, daemon=True)
  thread.start()
  try:
    yield
  except BaseException:
    over.set()
    thread.join()
    try:
      with _told(copy):
        claim.check()
        copy.send()
    except WriteError as error:  # what ended the run is said, and this as well
      logging.error("%s", error)
    raise
  over.set()
  thread.join()
  with _told(copy):
    claim.check()
    copy.send()


@contextlib.contextmanager
def _told(copy: stores.Copy) -> Iterator[None]:
  """Raises a WriteError for what a store refuses, inside."""
  try:
    yield
  except Exception as error:  # whatever its driver raises
    raise WriteError(
      f"{copy.address} could not be written ({type(error).__name__}: {error}); all of "
      f"it is in {copy.path}, and the same line sends it"
    ) from error


class Claim:
  """A file in a store that its owner writes anew, and that others wait out."""

  def __init__(self, copy: stores.Copy):
    """Claims; ConfigError where another shows signs of life, or nothing is written."""
    self.copy, self.me, self.beats = copy, uuid.uuid4().hex, 0
    self.fs, root = copy.store
    self.name, self.taken = f"{root}/{listings.CLAIM}", ""
    try:
      self._outlast()
      self._sign()
      time.sleep(min(1.0, BEAT))  # of two that begin at once the later one is in it
      self.check()
    except (ConfigError, WriteError):
      raise
    except Exception as error:  # whatever its driver raises
      raise ConfigError(
        f"{copy.address} cannot be written to ({type(error).__name__}: {error}); name "
        "another: --workdir=..."
      ) from error
    self._over = threading.Event()
    self._thread = threading.Thread(target=self._live, daemon=True)
    self._thread.start()

  def check(self) -> None:
    """Raises ConfigError where another run has taken the folder since."""
    told = self._read()
    if told is not None and self.me.encode() not in told:
      self.taken = told.decode(errors="replace")
    if self.taken:
      raise ConfigError(f"{self.copy.address} belongs to another run now, {self.taken}")

  def release(self) -> None:
    """Gives the folder back: it is anyone's."""
    self._over.set()
    self._thread.join()
    with contextlib.suppress(Exception):
      self.check()
      self.fs.rm_file(self.name)

  def _sign(self) -> None:
    self.beats += 1
    told = {"host": platform.node(), "pid": os.getpid(), "run": self.me}
    self.fs.pipe_file(self.name, json.dumps({**told, "beats": self.beats}).encode())

  def _read(self) -> bytes | None:
    try:
      return self.fs.cat_file(self.name)
    except FileNotFoundError:
      return None

  def _outlast(self) -> None:
    """Raises ConfigError where whoever claimed it is alive."""
    first = self._read()
    if first is None:
      return
    logging.warning(
      "%s was left in the middle: waiting %.0f s for a sign of life of its run",
      *(self.copy.address, PATIENCE),
    )
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
      time.sleep(min(BEAT / 5, PATIENCE))
      now = self._read()
      if now and now != first:
        raise ConfigError(
          f"--workdir={self.copy.address} belongs to a run that is under way "
          f"({now.decode(errors='replace')}); wait for it, stop it, or name another"
        )

  def _live(self) -> None:
    while not self._over.wait(BEAT):
      with contextlib.suppress(Exception):  # the next one may come through
        self.check()
        self._sign()
