"""What lies in an object store: copied here, and sent back where it has changed.

Nothing here can be locked, appended to or renamed in an object store, as a run does in
its folder. So an address stands for a copy in the user's cache folder, alike to the
store when it is asked for; what a run writes goes back by `Copy.send`. fsspec does the
talking: `memory://` and `local://` are its stand-ins, gcsfs and s3fs its drivers.
"""

import functools
import json
import os
import pathlib
import re
import shutil
import threading
import urllib.parse
from typing import Any

import jax
from absl import logging

from ssljax.fields import ConfigError

PASSING = (".orbax-checkpoint-tmp", ".tmp")  # in names of files that are not whole yet
OWNERS = "owner.json", ".claim.json"  # who is in the copy, who in the store
MARKS = ("generation", "ETag", "etag", "mtime", "LastModified", "updated", "created")


def copy_of(address: str) -> "Copy":
  """Returns the copy of what lies at `address`, alike to it from the first call on.

  ConfigError: nothing can be read there, it does not fit on this disk, both it and its
  copy have changed, or several processes run, whose copies would be several.
  """
  if jax.distributed.is_initialized():
    raise ConfigError(
      f"{address!r} is an address and no folder that all processes share; mount the "
      "bucket (gcsfuse, mount-s3, rclone mount) and name the folder where it is"
    )
  found = _copy(re.sub(r":/(?!/)", "://", address.rstrip("/"), count=1))
  with found.lock:
    if not found.fetched:
      found.fetch()
  return found


def copies() -> list["Copy"]:
  """Lists what this process has copies of."""
  return list(_COPIES.values())


_COPIES: dict[str, "Copy"] = {}


def _copy(address: str) -> "Copy":
  if address not in _COPIES:
    _COPIES[address] = Copy(address)
  return _COPIES[address]


class Copy:
  """A folder, or a file, of an object store, and its copy at `path`."""

  def __init__(self, address: str):
    self.address, self.lock, self.fetched = address, threading.RLock(), False
    protocol, _, name = address.partition("://")
    self.path = cache() / "stores" / protocol / _inside(name.strip("/"), address)
    noted = urllib.parse.quote(address, safe="")
    self.notes = cache() / "stores" / ".alike" / f"{noted}.json"

  @functools.cached_property
  def store(self) -> tuple[Any, str]:
    """The file system of fsspec, and the name of this in it."""
    protocol = self.address.partition("://")[0]
    try:
      import fsspec

      folders = {"auto_mkdir": True} if protocol in ("file", "local") else {}
      return fsspec.core.url_to_fs(self.address, use_listings_cache=False, **folders)
    except (ImportError, ValueError) as error:
      driver = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs"}.get(protocol, "fsspec")
      raise ConfigError(
        f"{self.address!r} is an address, which needs {driver} ({error}); pip install "
        f"{driver}, or mount the bucket and name the folder where it is"
      ) from error

  def fetch(self) -> None:
    """Makes the copy alike to the store; what an earlier process did not send stays."""
    try:
      there = self._there()
    except ConfigError:
      raise
    except Exception as error:  # whatever its driver raises
      raise ConfigError(
        f"{self.address} cannot be read ({type(error).__name__}: {error})"
      ) from error
    notes, here = self._notes(), self._here()
    alike = notes["alike"]
    unsent = {n for n in here.keys() | alike.keys() if here.get(n) != _here(alike, n)}
    news = {n for n in there.keys() | alike.keys() if there.get(n) != _there(alike, n)}
    if notes["whole"] and unsent:
      if news:
        raise ConfigError(
          f"{self.address} has changed, and so has its copy {self.path}, which was not "
          "sent; delete one of them"
        )
      logging.warning(
        "%s holds what was not sent to %s: it goes on from there",
        *(self.path, self.address),
      )
    else:
      self._get(sorted(news | unsent), there, alike)
    self.fetched = True

  def send(self) -> None:
    """Sends what has changed here: checkpoints first, then what tells of them.

    Raises what the driver raises; what was sent until then need not be sent again.
    """
    fs, root = self.store
    with self.lock:
      alike, here = self._notes()["alike"], self._here()
      changed = [name for name, seen in here.items() if seen != _here(alike, name)]
      for name in sorted(changed, key=lambda n: (not n.startswith("checkpoints"), n)):
        far = f"{root}/{name}" if name else root
        try:
          fs.put_file(str(self.path / name), far)
        except FileNotFoundError:  # since removed
          continue
        alike[name] = [_mark(fs.info(far)), *here[name]]
        self._note(alike)
      for name in alike.keys() - here.keys():
        fs.rm_file(f"{root}/{name}")
        del alike[name]
        self._note(alike)

  def _get(self, names: list[str], there: dict, alike: dict) -> None:
    """Fetches what of `names` is there, and removes the others."""
    fs, root = self.store
    wanted = [name for name in names if name in there]
    size = sum(there[name][0] for name in wanted)
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
        *(len(wanted), size / 1e6, self.address, self.path),
      )
    self._note(alike, whole=False)
    for name in set(names) - set(wanted):
      alike.pop(name, None)
      (self.path / name).unlink(missing_ok=True)
    far = [f"{root}/{name}" if name else root for name in wanted]
    near = [self.path / name for name in wanted]
    for path in near:
      path.parent.mkdir(parents=True, exist_ok=True)
    try:
      if far:
        fs.get(far, [str(path) for path in near])
    except Exception as error:  # whatever its driver raises
      raise ConfigError(
        f"{self.address} could not be read to its end ({type(error).__name__}: "
        f"{error}); the same line goes on"
      ) from error
    here = self._here()
    alike |= {name: [there[name], *here[name]] for name in wanted if name in here}
    self._note(alike)

  def _there(self) -> dict[str, list]:
    """Lists what the store has: {name: [bytes, mark of its contents]}."""
    fs, root = self.store
    try:
      if fs.isfile(root):
        return {"": _mark(fs.info(root))}
      found = fs.find(root, detail=True)
    except FileNotFoundError:
      return {}
    return {
      _inside(name[len(root) :].strip("/"), self.address): _mark(info)
      for name, info in found.items()
      if not name.endswith("/") and not _passes(name)
    }

  def _here(self) -> dict[str, list]:
    """Lists what the copy has: {name: [bytes, when it was written]}."""
    paths = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
    found = {}
    for path in paths:
      name = path.relative_to(self.path).as_posix()
      try:
        if path.is_file() and not _passes(name):
          stat = path.stat()
          found["" if name == "." else name] = [stat.st_size, stat.st_mtime_ns]
      except FileNotFoundError:  # since removed
        continue
    return found

  def _notes(self) -> dict:
    try:
      return json.loads(self.notes.read_text())
    except (OSError, ValueError):
      return {"whole": False, "alike": {}}

  def _note(self, alike: dict, whole: bool = True) -> None:
    self.notes.parent.mkdir(parents=True, exist_ok=True)
    temporary = self.notes.with_suffix(".tmp")
    temporary.write_text(json.dumps({"whole": whole, "alike": alike}))
    temporary.replace(self.notes)


def cache() -> pathlib.Path:
  """Returns the user's cache folder of this project."""
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(home) / "ssljax"


def _here(alike: dict, name: str) -> list | None:
  return alike[name][1:] if name in alike else None


def _there(alike: dict, name: str) -> list | None:
  return alike[name][0] if name in alike else None


def _mark(info: dict) -> list:
  """Tells contents apart, as far as a listing does."""
  return [info["size"], str(next((info[k] for k in MARKS if k in info), ""))]


def _passes(name: str) -> bool:
  last = name.rpartition("/")[2]
  return last in OWNERS or any(part in name for part in PASSING)


def _inside(name: str, address: str) -> str:
  """Returns a name from a store, unless it leads out of a folder."""
  if ".." in pathlib.PurePosixPath(name).parts:
    raise ConfigError(f"{address} holds {name!r}, which leads out of its folder")
  return name
