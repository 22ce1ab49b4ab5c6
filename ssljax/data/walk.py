"""Every file below a folder, links followed; what is passed over is counted."""

import collections
import os
import pathlib
from collections.abc import Collection, Iterator

from absl import logging

from ssljax.data import places

Place = tuple[int, int]  # device and inode: a folder, whatever leads to it


class Walk:
  """Iterates over the files of some endings below a folder, as paths from there.

  Hidden ones and what `without` names, by their paths, are passed over. A folder that
  several links lead to is read once for each folder at the top, circles never.
  Afterwards `left_out` and `warn` tell what was met besides.
  """

  def __init__(
    self,
    root: pathlib.Path,
    endings: Collection[str],
    without: Collection[str] = (),
  ):
    """Takes `endings` in small letters; names are of any case."""
    self.root, self.endings, self.without = root, endings, without
    self.tops: list[str] = []  # folders at the top
    self.others: collections.Counter[str] = collections.Counter()  # by ending
    self.lost: list[str] = []  # links to nothing, folders that cannot be listed
    self.twins: list[str] = []  # folders that are a second way to another

  def __iter__(self) -> Iterator[str]:
    self._first: dict[Place, str] = {}  # the first way to a folder
    self._ways: set[tuple[str, Place]] = set()  # folder at the top, folder
    return self._walk("", ())

  def _walk(self, below: str, above: tuple[Place, ...]) -> Iterator[str]:
    folder = os.path.join(self.root, below)
    stat = os.stat(folder)
    place, top = (stat.st_dev, stat.st_ino), below.split(os.sep, 1)[0]
    if place in above:  # a link in a circle
      return
    if place in self._first:
      self.twins.append(f"{below} is {self._first[place] or os.curdir}")
    self._first.setdefault(place, below)
    if (top, place) in self._ways:
      return
    self._ways.add((top, place))
    try:
      with os.scandir(folder) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
      if not below:
        raise
      self.lost.append(f"{below} ({error.strerror})")
      return
    for entry in entries:
      path = os.path.join(below, entry.name)
      if self._is_folder(entry, path, top=not below):
        yield from self._walk(path, (*above, place))
      elif self._is_chosen(entry, path):
        yield path

  def _is_folder(self, entry: os.DirEntry, path: str, top: bool) -> bool:
    hidden = entry.name.startswith(".")
    if hidden or not _safely(entry.is_dir) or path in self.without:
      return False
    if top:
      self.tops.append(path)
    return True

  def _is_chosen(self, entry: os.DirEntry, path: str) -> bool:
    ending = os.path.splitext(entry.name)[1].lower()
    if _safely(entry.is_dir):
      return False
    if not _safely(entry.is_file):
      self.lost.append(f"{path} ({_what(entry)})")
    elif entry.name.startswith("."):
      self.others["hidden"] += ending in self.endings
    elif ending not in self.endings:
      self.others[f"of {ending}" if ending else "without an ending"] += 1
    else:
      return True
    return False

  def left_out(self, most: int = 5) -> str:
    """Counts the files that are not read, by ending, in a sentence."""
    counts = sorted((+self.others).items(), key=lambda pair: (-pair[1], pair[0]))
    words = [f"{n:,} {places.printable(kind)}" for kind, n in counts[:most]]
    if remaining := sum(n for _, n in counts[most:]):
      words.append(f"{remaining:,} of other endings")
    return ", ".join(words)

  def warn(self, noun: str) -> None:
    """Warns of what was passed over."""
    root = places.printable(str(self.root))
    if counts := self.left_out():
      logging.warning("Left out of %s as no %s: %s", root, noun, counts)
    if self.lost:
      logging.warning("Left out of %s: %s", root, places.listed(self.lost))
    if self.twins:
      named = places.listed(self.twins)
      logging.warning("Of the linked folders of %s are the same: %s", root, named)


def holds(folder: pathlib.Path, endings: Collection[str]) -> bool:
  """Whether any file of these endings lies below a folder."""
  return next(iter(Walk(folder, endings)), None) is not None


def _safely(question) -> bool:
  try:
    return question()
  except OSError:  # a link to itself
    return False


def _what(entry: os.DirEntry) -> str:
  return "a link to nothing" if entry.is_symlink() else "no file that can be read"
