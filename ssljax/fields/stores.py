"""What lies in an object store: copied here, and sent back where it has changed.

Nothing can be locked, appended to or renamed in an object store, as a run does in its
folder. So an address stands for a copy in the user's cache folder, alike to the store
when it is asked for; what a run writes goes back by `Copy.send`. fsspec does the
talking: `memory://` and `local://` are its stand-ins, gcsfs and s3fs two drivers.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from absl import logging

from ssljax.fields import ConfigError, listings

STEPS = "checkpoints/"
AGAIN = "report.html"  # written anew from what else is there
DRIVERS = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs"}


def copied(address: str) -> pathlib.Path:
  """Returns the copy of what lies at `address`, alike to it at the first call.

  ConfigError: nothing can be read there, it does not fit on this disk, both it and its
  copy have changed, or several processes run, whose copies would be several.
  """
  if jax.distributed.is_initialized():
    raise ConfigError(
      f"{address!r} is an address and no folder that all processes share; mount the "
      "bucket (gcsfuse, mount-s3, rclone mount) and name the folder where it is"
    )
  address = re.sub(r":/(?!/)", "://", address.rstrip("/"), count=1)
  for copy in COPIES.values():
    if address.startswith(f"{copy.address}/"):
      return copy.path / address.removeprefix(f"{copy.address}/")
  if address not in COPIES:
    copy = Copy(address)
    copy.fetch()
    COPIES[address] = copy
  return COPIES[address].path


COPIES: dict[str, "Copy"] = {}  # that this process has asked for


class Copy:
  """A folder, or a file, of an object store, and its copy at `path`."""

  def __init__(self, address: str):
    self.address, self.lock = address, threading.RLock()
    protocol, _, name = address.partition("://")
    home = cache() / "stores"
    self.path = home / protocol / listings.inside(name.strip("/"), address)
    digest = hashlib.sha256(address.encode()).hexdigest()[:24]
    self.notes = home / ".alike" / f"{digest}.json"
    self.staged = home / ".alike" / f"{digest}.staged"
    self.ours: int | None = None  # the open file that says that a run of ours is in it

  @functools.cached_property
  def store(self) -> tuple[Any, str]:
    """The file system of fsspec, and the name of this in it."""
    protocol = self.address.partition("://")[0]
    try:
      import fsspec

      folders = {"auto_mkdir": True} if protocol == "local" else {}
      return fsspec.core.url_to_fs(self.address, use_listings_cache=False, **folders)
    except (ImportError, ValueError) as error:
      driver = DRIVERS.get(protocol, "fsspec")
      raise ConfigError(
        f"{self.address!r} is an address, which needs {driver} ({error}); pip install "
        f"{driver}, or mount the bucket and name the folder where it is"
      ) from error

  def fetch(self) -> None:
    """Makes the copy alike to the store; what was not sent yet stays.

    While a run of another process is in it, it is as that run has it.
    """
    with self._alone() as free:
      if free:
        try:
          self._fetch()
        except ConfigError:
          raise
        except Exception as error:  # whatever its driver raises
          raise ConfigError(
            f"{self.address} cannot be read ({type(error).__name__}: {error})"
          ) from error

  def send(self, gone: bool = True) -> None:
    """Sends what has changed, checkpoints last; with `gone`, removes what is gone here.

    Raises what the driver raises; what was sent until then need not be sent again.
    Nothing, while a run of another process is in it, which sends it.
    """
    with self._alone() as free:
      if free:
        try:
          self._send(gone)
        finally:
          shutil.rmtree(self.staged, ignore_errors=True)

  def claim(self) -> bool:
    """Takes the copy for a run of this process; False: another's is in it."""
    waited = self._locked(".lock", wait=True)  # who asks who is in it has both
    fd = self._locked(".run")
    os.close(waited)
    self.ours = fd if fd >= 0 else None
    return self.ours is not None

  def release(self) -> None:
    """Gives the copy back."""
    if self.ours is not None:
      os.close(self.ours)
    self.ours = None

  @contextlib.contextmanager
  def _alone(self) -> Iterator[bool]:
    """Keeps other processes waiting -> whether no run of another is in it."""
    with self.lock:
      fd = self._locked(".lock", wait=True)
      running = -1
      try:
        if self.ours is None:
          running = self._locked(".run")
        yield self.ours is not None or running >= 0
      finally:
        for open_file in (fd, running):
          if open_file >= 0:
            os.close(open_file)

  def _locked(self, ending: str, wait: bool = False) -> int:
    """Opens and locks a file beside the notes; -1: another process has it."""
    self.notes.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(self.notes.with_suffix(ending), os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      os.close(fd)
      return -1
    return fd

  def _fetch(self) -> None:
    (fs, root), notes = self.store, self._notes()
    there, here = listings.there(fs, root, self.address), listings.here(self.path)
    alike, halfway = notes["alike"], {*notes["fetching"]}
    unsent = {n for n in here.keys() | alike.keys() if here.get(n) != _here(alike, n)}
    unsent -= halfway
    news = {n for n in there.keys() | alike.keys() if there.get(n) != _there(alike, n)}
    for name in sorted(unsent & news & (here.keys() | there.keys()) - {AGAIN}):
      if not (name in here and name in there and self._grew(name)):
        raise ConfigError(
          f"{self.address} has changed, and so has its copy {self.path}, which was not "
          f"sent ({name or 'the file'}); delete one of them"
        )
    if unsent:
      logging.warning(
        "%s holds what was not sent to %s: it goes on from there",
        *(self.path, self.address),
      )
    for name in (news - unsent) - there.keys():
      self._remove(name)
      alike.pop(name, None)
    self._get(sorted((news - unsent) & there.keys()), there, notes)

  def _grew(self, name: str) -> bool:
    """Whether a file is, or begins with, what the store has: sent, and not noted."""
    fs, root = self.store
    sent = fs.cat_file(_far(root, name))
    with (self.path / name).open("rb") as file:
      return file.read(len(sent)) == sent

  def _get(self, names: list[str], there: dict, notes: dict) -> None:
    """Fetches files, each under another name until it is whole."""
    fs, root = self.store
    size = sum(there[name][0] for name in names)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(self.path.parent).free
    if size > free:
      raise ConfigError(
        f"{self.address} takes {size:,} bytes, and {self.path} has {free:,} free; set "
        "XDG_CACHE_HOME to a larger disk, or mount the bucket"
      )
    if size > 2**26:
      logging.warning(
        "copying %d files, %.0f MB, of %s to %s",
        *(len(names), size / 1e6, self.address, self.path),
      )
    self._note({**notes, "fetching": names})
    near = {name: self.path / name for name in names}
    half = {name: path.with_name(path.name + ".tmp") for name, path in near.items()}
    for path in near.values():
      path.parent.mkdir(parents=True, exist_ok=True)
    if names:
      fs.get([_far(root, name) for name in names], [str(half[name]) for name in names])
    for name, path in near.items():
      half[name].replace(path)
      stat = path.stat()
      notes["alike"][name] = [there[name], [stat.st_size, stat.st_mtime_ns]]
    self._note({**notes, "fetching": []})

  def _send(self, gone: bool) -> None:
    (fs, root), notes, here = self.store, self._notes(), listings.here(self.path)
    alike = notes["alike"]
    changed = [name for name, seen in here.items() if seen != _here(alike, name)]
    changed.sort(key=lambda name: (name.startswith(STEPS), name))
    near = self._staged(changed)
    listed = here, listings.here(self.path)
    first, second = ({n for n in x if n.startswith(STEPS)} for x in listed)
    whole = first and first == second  # else one comes, or goes, just now
    for name, path in near.items():
      far = _far(root, name)
      try:
        fs.put_file(str(path), far)
      except FileNotFoundError:
        if path.exists():  # the bucket is not
          raise
        continue
      alike[name] = [listings.mark(fs.info(far), far), here[name]]
      self._note(notes)
    for name in alike.keys() - here.keys() if gone else ():
      if whole or not name.startswith(STEPS):
        with contextlib.suppress(FileNotFoundError):
          fs.rm_file(_far(root, name))
        del alike[name]
    self._note(notes)

  def _staged(self, names: Iterable[str]) -> dict[str, pathlib.Path]:
    """Finds the file to send of each name: a link to what a run may prune meanwhile."""
    near = {}
    for name in names:
      path = self.path / name
      if name.startswith(STEPS):
        link = self.staged / name
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
          link.unlink(missing_ok=True)
          os.link(path, link)
          near[name] = link
      elif path.exists():
        near[name] = path
    return near

  def _remove(self, name: str) -> None:
    """Removes a file, and the folders that it leaves empty."""
    path = self.path / name
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
      while path != self.path:
        path = path.parent
        path.rmdir()

  def _notes(self) -> dict:
    try:
      return json.loads(self.notes.read_text())
    except (OSError, ValueError):
      return {"address": self.address, "alike": {}, "fetching": []}

  def _note(self, notes: dict) -> None:
    temporary = self.notes.with_suffix(".tmp")
    temporary.write_text(json.dumps(notes))
    temporary.replace(self.notes)


def cache() -> pathlib.Path:
  """Returns the user's cache folder of this project."""
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(home) / "ssljax"


def _far(root: str, name: str) -> str:
  return f"{root}/{name}" if name else root


def _here(alike: dict, name: str) -> list | None:
  return alike[name][1] if name in alike else None


def _there(alike: dict, name: str) -> list | None:
  return alike[name][0] if name in alike else None
