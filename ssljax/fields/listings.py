"""What a folder holds, on this disk and in an object store, as far as it may travel."""

import contextlib
import pathlib
from typing import Any

from ssljax.fields import ConfigError

CLAIM = ".claim.json"  # in the store alone: who is in it
OWNERS = "owner.json", CLAIM
MARKS = ("generation", "ETag", "etag", "mtime", "LastModified", "updated", "created")


def there(fs: Any, root: str, address: str) -> dict[str, list]:
  """Lists what a store has: {name: [bytes, mark of its contents]}; "": it is a file."""
  try:
    if fs.isfile(root):
      return {"": mark(fs.info(root), root)}
    found = fs.find(root, detail=True)
  except FileNotFoundError:
    return {}
  named = {name[len(root) :].strip("/"): info for name, info in found.items()}
  return {
    inside(name, address): mark(info, name)
    for name, info in named.items()
    if name and info.get("type") != "directory" and not passes(name)
  }


def here(root: pathlib.Path) -> dict[str, list]:
  """Lists what a folder, or a file, has: {name: [bytes, when it was written]}."""
  found = {}
  for path in [root] if root.is_file() else root.rglob("*"):
    name = path.relative_to(root).as_posix()
    with contextlib.suppress(FileNotFoundError):  # since removed
      if path.is_file() and not passes(name):
        stat = path.stat()
        found["" if name == "." else name] = [stat.st_size, stat.st_mtime_ns]
  return found


def mark(info: dict, name: str) -> list:
  """Tells contents apart, as far as a listing does."""
  if info.get("size") is None:
    raise ConfigError(f"{name} has no size, as its server says; download it yourself")
  told = next((info[key] for key in MARKS if key in info), sorted(info.items()))
  return [info["size"], str(told)]


def passes(name: str) -> bool:
  """Whether a name is no one's or not whole yet."""
  return name in OWNERS or name.endswith(".tmp") or ".orbax-checkpoint-tmp" in name


def inside(name: str, address: str) -> str:
  """Returns a name from a store, unless it leads out of a folder."""
  if ".." in pathlib.PurePosixPath(name).parts:
    raise ConfigError(f"{address} holds {name!r}, which leads out of its folder")
  return name
