"""Who owns a run's folder: one run at a time."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging

from ssljax import sharding
from ssljax.fields import ConfigError

OWNER = "owner.json"
BEAT = 5.0  # seconds between an owner's signs of life
PATIENCE = 3 * BEAT + 1  # without one, an owner on another machine is taken for dead


@contextlib.contextmanager
def owned(workdir: pathlib.Path) -> Iterator[None]:
  """Makes the folder and keeps every other run out of it while this one is in it.

  Process 0 owns it for all of a run's. ConfigError where another run is in it, or where
  nothing can be written; then nothing has been, and a folder that stayed empty goes.
  """
  lock, refusal = None, _unfit(workdir)
  if jax.process_index() == 0 and not refusal:
    try:
      lock = Lock(workdir)
    except ConfigError as error:
      refusal = str(error)
    except OSError as error:
      refusal = (
        f"--workdir={workdir} cannot be written to ({error.strerror}); name another"
      )
  if refusal := sharding.told(refusal):
    raise ConfigError(refusal)
  try:
    yield
  finally:
    if lock:
      lock.release()


def _unfit(workdir: pathlib.Path) -> str:
  """Says why orbax cannot write checkpoints in a folder of this name; "": it can."""
  path = str(workdir.absolute())
  if "[" in path or "]" in path:
    return f"--workdir={path}: orbax takes [ and ] for a pattern; name it without them"
  try:
    path.encode()
  except UnicodeEncodeError:
    return f"--workdir={path!a} is no UTF-8, and orbax writes no other; name another"
  return ""


class Lock:
  """The file `owner.json`: locked by its owner, and touched by it now and then.

  The kernel drops the lock of a process that dies, and there the rest is a comment.
  Some shared disks lock nothing, or nothing between machines: on those an owner that
  shows no sign of life for PATIENCE seconds is taken for dead.
  """

  def __init__(self, folder: pathlib.Path):
    """Takes the folder; ConfigError where another has it, OSError: cannot write."""
    if folder.is_file():
      raise ConfigError(f"{folder} is no folder; name another --workdir")
    self.made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    self.path = folder / OWNER
    try:
      self.fd, certain = self._lock()
      self._outlast(certain)
      self._sign()
    except (ConfigError, OSError):
      self._tidy()
      raise
    self._closed = threading.Event()
    self._beating = threading.Thread(target=self._beat, daemon=True)
    self._beating.start()

  def release(self) -> None:
    """Gives the folder back: it is anyone's."""
    self._closed.set()
    self._beating.join()
    with contextlib.suppress(OSError):
      self.path.unlink()
    os.close(self.fd)
    self._tidy()

  def _lock(self) -> tuple[int, bool]:
    """Opens and locks the file -> the open file, and whether the disk locked it."""
    while True:
      fd, certain = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), True
      try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        owner = _read(fd)
        os.close(fd)
        raise ConfigError(self._refusal(owner)) from None
      except OSError:
        certain = False
      with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(fd), os.stat(self.path)):
          return fd, certain
      os.close(fd)  # its owner has just left, and has taken the file away

  def _outlast(self, certain: bool) -> None:
    """Raises ConfigError where the owner that the file names is alive all the same."""
    owner = _read(self.fd)
    if not owner or (certain and owner.get("machine") == _machine()):
      return
    logging.warning(
      "%s was left by process %s on %s: waiting %.0f s for a sign of life",
      *(self.path, owner.get("pid"), owner.get("host"), PATIENCE),
    )
    last_touch, until = self._touched(), time.monotonic() + PATIENCE
    while time.monotonic() < until:
      time.sleep(min(BEAT / 5, PATIENCE))
      if self._touched() != last_touch:
        os.close(self.fd)
        raise ConfigError(self._refusal(owner))

  def _touched(self) -> int:
    """Reads when the file was touched, opened anew: a shared disk tells old times."""
    with self.path.open() as file:
      return os.fstat(file.fileno()).st_mtime_ns

  def _sign(self) -> None:
    me = {
      "host": platform.node(),
      "pid": os.getpid(),
      "since": datetime.datetime.now().isoformat(" ", "seconds"),
      "machine": _machine(),
    }
    text = json.dumps(me).encode()
    os.ftruncate(self.fd, 0)
    os.pwrite(self.fd, text, 0)
    os.fsync(self.fd)

  def _beat(self) -> None:
    while not self._closed.wait(BEAT):
      with contextlib.suppress(OSError):
        os.utime(self.fd)

  def _refusal(self, owner: dict[str, Any]) -> str:
    who = "process {pid} on {host}, since {since}".format_map(
      {"pid": "?", "host": "a host unknown", "since": "just now", **owner}
    )
    gone = f"; if {owner['host']} is gone, delete {self.path}" if owner else ""
    gone = "" if owner.get("machine") == _machine() else gone
    return (
      f"--workdir={self.path.parent} belongs to a run that is under way ({who}); wait "
      f"for it, stop it, or name another{gone}"
    )

  def _tidy(self) -> None:
    """Removes the folders that were made for nothing."""
    for path in self.made:
      with contextlib.suppress(OSError):
        path.rmdir()


def _read(fd: int) -> dict[str, Any]:
  """Reads what an owner signed; {} where nobody has, or half."""
  try:
    owner = json.loads(os.pread(fd, 4096, 0))
  except ValueError:
    return {}
  return owner if isinstance(owner, dict) else {}


def _machine() -> str:
  """Identifies the machine, alike for all that share a kernel, until it starts anew."""
  boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
  return boot.read_text().strip() if boot.exists() else str(uuid.getnode())
