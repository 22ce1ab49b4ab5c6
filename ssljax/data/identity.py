"""Which data it is: what stays the same wherever it lies, and differs from any other.

Names, labels and sizes of all examples, and what a thousand of them hold, spread over
the whole: a copy, an archive or another machine keeps them. Times of files, which none
of these keep, tell alone whether what was made of data is still fresh.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ssljax.data import places
from ssljax.data.source import Source

Identity = dict[str, str | int]

SAMPLED = 1024  # examples that are looked into; of fewer, all
GROUPS = 32  # of them, each with a digest of its own
WHOLE = 2**18  # bytes of a file up to which all of it is read
BLOCKS = 4  # of a larger one, a quarter of that each, from its start to its end
UNKNOWN = "?"  # a group that holds an example which cannot be read
TIMES = "times"
TOLD = ("examples", "data set")  # by their values, which say something to people
THREADS = 16
CHUNK = 4096


def identify(source: Source) -> Identity:
  """Identifies `source`: "examples" N, "contents", and a digest a word of its `facts`.

  Equal for moved data; `differences` compares two.
  """
  source = source.origin  # prepared or not, it is the same data
  facts = {"classes": source.class_names, **source.facts()}
  identity = {k: v if isinstance(v, str) else digest(v) for k, v in facts.items()}
  if "contents" not in identity:
    identity["contents"] = _contents(source)
  return {"examples": len(source), **identity}


def alike(train: Source, evaluation: Source | None) -> bool:
  """Whether two splits are the same examples."""
  if evaluation is None or len(train) != len(evaluation):
    return False
  return evaluation is train or identify(train) == identify(evaluation)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """Lists in what two identities differ: "examples (9, now 8)", "names", ...

  "times" are not compared, nor what one of them does not know.
  """
  words = [word for word in lasting(before) if word in now]
  return [
    f"{word} ({before[word]}, now {now[word]})" if word in TOLD else word
    for word in words
    if not _same(word, before[word], now[word])
  ]


def lasting(identity: Mapping[str, Any]) -> Identity:
  """Drops from an identity the "times" of files, which a copy does not keep."""
  return {word: value for word, value in identity.items() if word != TIMES}


def of_files(root: pathlib.Path, files: Sequence[str]) -> dict[str, list]:
  """Reads files below `root`: their "names", "sizes" in bytes, and "times".

  Names are written as on any system: slashes, and accents in one piece.
  """
  chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:  # of far disks
    stats = pool.map(lambda chunk: [_stat(f"{root}/{f}") for f in chunk], chunks)
    bar = f"sizes in {places.printable(str(root))}"
    stats = [s for c in tqdm(stats, bar, len(chunks), delay=2) for s in c]
  names = [unicodedata.normalize("NFC", f.replace(os.sep, "/")) for f in files]
  sizes, times = map(list, zip(*stats, strict=True)) if stats else ([], [])
  return {"names": names, "sizes": sizes, TIMES: times}


def _stat(file: str) -> tuple[int, int]:
  try:
    status = os.stat(file)  # a path of pathlib's would cost as much again
  except OSError:  # it went since it was listed; said when it is decoded
    return -1, -1
  return status.st_size, status.st_mtime_ns


def digest(value: Any) -> str:
  """Digests sequences, arrays and mappings of plain values to 16 letters."""
  hashed = hashlib.blake2b(digest_size=8)
  for part in _parts(value):
    hashed.update(part)
  return hashed.hexdigest()


def _same(word: str, before: Any, now: Any) -> bool:
  if word != "contents":
    return before == now
  pairs = zip(before.split("-"), now.split("-"), strict=False)
  return all(a == b for a, b in pairs if UNKNOWN not in (a, b))


def _contents(source: Source) -> str:
  """Digests each group of the examples looked into, shortly."""
  count = min(len(source), SAMPLED)
  numbers = np.linspace(0, len(source) - 1, count).astype(int)
  groups = np.array_split(numbers, min(GROUPS, count)) if count else []
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
    return "-".join(pool.map(lambda group: _look_into(source, group.tolist()), groups))


def _look_into(source: Source, numbers: list[int]) -> str:
  hashed = hashlib.blake2b(digest_size=3)
  try:
    for example in source.__getitems__(numbers):
      for part in _parts(example):
        hashed.update(part)
  except Exception:  # readers raise whatever broken bytes lead to; met when decoded
    return UNKNOWN
  return hashed.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
  """Yields bytes that tell a value from others, a bounded number at a time."""
  if isinstance(value, pathlib.Path):
    yield from _file(value)
  elif isinstance(value, bytes):
    yield value
  elif isinstance(value, np.ndarray):
    yield f"{value.dtype.str}{value.shape}".encode()
    yield np.ascontiguousarray(value).tobytes()
  elif isinstance(value, Mapping):
    for name in sorted(value):
      yield repr(name).encode()
      yield from _parts(value[name])
  elif isinstance(value, list | tuple) and any(map(_is_nested, value[:8])):
    for item in value:
      yield from _parts(item)
  elif isinstance(value, list | tuple):
    for start in range(0, len(value), CHUNK):
      yield repr(list(value[start : start + CHUNK])).encode()
  else:
    value = value.item() if isinstance(value, np.generic) else value
    yield repr(value).encode()


def _is_nested(value: Any) -> bool:
  return not isinstance(value, str | int | float | type(None))


def _file(path: pathlib.Path) -> Iterator[bytes]:
  with path.open("rb") as file:
    size = file.seek(0, 2)
    length = size if size <= WHOLE else WHOLE // BLOCKS
    for start in (0,) if size <= WHOLE else np.linspace(0, size - length, BLOCKS):
      file.seek(int(start))
      yield file.read(length)
