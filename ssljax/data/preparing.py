"""Decodes a source once: its canvases, written for runs to read (`prepared.py`)."""

import collections
import concurrent.futures
import io
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ssljax.data import canvases, prepared
from ssljax.data.arrays import Stacked
from ssljax.data.canvases import Layout, Row
from ssljax.data.codec import Example, UnreadableError
from ssljax.data.decode import Pictures, as_stored
from ssljax.data.reader import Reader
from ssljax.data.source import Splits
from ssljax.fields import ConfigError

QUALITY = 95  # of JPEGs
CHUNK = 32  # examples that a thread decodes at once
AHEAD = 2  # chunks a thread that may wait for the disk
COMPARED = 64  # canvases that are read again, beside their pictures


def need(sources: Splits, size: int, form: str) -> int:
  """Counts the bytes of canvases; of JPEGs 0, for only the pictures tell.

  ConfigError where the sources hold no pictures, or none that `form` can keep.
  """
  kinds = {type(codec) for codec in sources.train.codecs(size)}
  name = sources.train.name
  if not kinds <= {Pictures, Stacked}:
    raise ConfigError(f"{name!r} has no pictures to prepare; name data that has")
  if form == "jpeg" and kinds != {Pictures}:
    raise ConfigError(
      f"prepare.form='jpeg' is for pictures, and {name!r} has planes; try 'raw'"
    )
  examples = sum(len(source) for source in sources if source is not None)
  raw = form == "raw"
  return examples * canvases.bytes_of(sources.train.spec(size)) if raw else 0


def begin(folder: pathlib.Path, manifest: dict[str, Any]) -> dict[str, Any]:
  """Writes the manifest, or finds one there -> it; ConfigError: it is of other data."""
  if (folder / prepared.MANIFEST).exists():
    before = prepared.read(folder)
    words = prepared.differences(before, manifest)
    words += ["decoder"] if before["decoder"] != manifest["decoder"] else []
    if words:
      raise ConfigError(
        f"--workdir={folder} holds canvases of other {', '.join(words)}; name another "
        "folder, or delete that one"
      )
    return before
  text = json.dumps(manifest, indent=2) + "\n"
  canvases.whole(folder / prepared.MANIFEST, lambda file: file.write(text.encode()))
  return manifest


def write(
  sources: Splits, manifest: dict[str, Any], folder: pathlib.Path, workers: int
) -> list[str]:
  """Writes what is missing of canvases in `folder`, which holds their manifest.

  Where nothing is missing all is read and checked, and what is damaged written anew.
  -> the sentences about what was.
  """
  damaged: list[str] = []
  opened = {name: s for name, s in sources._asdict().items() if s is not None}
  layouts = {k: prepared.layout_of(manifest, len(s)) for k, s in opened.items()}
  missing = {}
  for name, layout in layouts.items():
    (folder / name).mkdir(exist_ok=True)
    for part in (folder / name).glob("*.part"):
      part.unlink()  # of a shard that was not finished
    look = canvases.read_index
    problems = [look(folder / name, layout, n)[1] for n in range(len(layout.shards))]
    missing[name] = [n for n, problem in enumerate(problems) if problem]
    there = [canvases.index_file(folder / name, n).exists() for n in missing[name]]
    damaged += [problems[n] for n, t in zip(missing[name], there, strict=True) if t]
  if not any(missing.values()):
    for name, layout in layouts.items():
      numbers = tqdm(range(len(layout.shards)), f"checking {name}", delay=2)
      problems = [canvases.check(folder / name, layout, n) for n in numbers]
      missing[name] = [n for n, problem in enumerate(problems) if problem]
      damaged += filter(None, problems)
  for name, numbers in missing.items():
    reader = Reader(opened[name], manifest["size"])
    _write_split(reader, layouts[name], folder / name, numbers, workers)
  return damaged


def compare(sources: Splits, read: Splits, size: int) -> float:
  """Decodes some examples again -> how far their prepared canvases are, on average.

  In levels of 255. Those that cannot be read are left out.
  """
  errors = []
  for source, ours in zip(sources, read, strict=True):
    if source is not None:
      readers = Reader(source, size), Reader(ours, size)
      numbers = np.unique(np.linspace(0, len(source) - 1, COMPARED).astype(int))
      pairs = ([_decoded(r, n)[1] for r in readers] for n in numbers.tolist())
      errors += [_error(*p) for p in pairs if not isinstance(p[0], UnreadableError)]
  return float(np.mean(errors)) if errors else 0.0


def _error(direct: dict[str, Any], stored: dict[str, Any]) -> float:
  rows, columns = direct.get("extent", direct["image"].shape[:2])
  x, y = (d["image"][:rows, :columns].astype(int) for d in (direct, stored))
  return np.abs(x - y).mean()


def _write_split(
  reader: Reader,
  layout: Layout,
  folder: pathlib.Path,
  numbers: list[int],
  workers: int,
) -> None:
  """Decodes the shards `numbers` in threads, and writes them in order."""
  shards = layout.shards
  chunks = [
    (n, shards[n][i : i + CHUNK])
    for n in numbers
    for i in range(0, len(shards[n]), CHUNK)
  ]

  def decoded(chunk: tuple[int, range]) -> tuple[int, list[Row]]:
    number, indices = chunk
    examples = zip(indices, reader.examples(list(indices)), strict=True)
    return number, [_row(layout, *_decoded(reader, i, e)) for i, e in examples]

  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    results = _in_order(pool, decoded, chunks, AHEAD * workers)
    name, total = reader.source.name, sum(len(shards[n]) for n in numbers)
    with tqdm(desc=f"preparing {name}", total=total, delay=2) as bar:

      def told(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
          yield row
          bar.update()

      for number, group in itertools.groupby(results, lambda result: result[0]):
        rows = itertools.chain.from_iterable(rows for _, rows in group)
        canvases.write_shard(folder, layout, number, told(rows))


def _in_order(
  pool: concurrent.futures.Executor, function: Callable, items: Iterable, ahead: int
) -> Iterator:
  """Maps in threads, at most `ahead` results before they are asked for."""
  waiting = collections.deque()
  for item in items:
    waiting.append(pool.submit(function, item))
    if len(waiting) > ahead:
      yield waiting.popleft().result()
  while waiting:
    yield waiting.popleft().result()


def _row(layout: Layout, example: Example | None, decoded: Any) -> Row:
  """Makes a row of what was decoded, or of why nothing was."""
  label = -1 if example is None else int(example["label"])
  shape, dtype = layout.spec["image"]
  if isinstance(decoded, UnreadableError):
    stored = np.zeros(shape, dtype) if layout.form == "raw" else b""
    entries = {k: np.zeros(*v) for k, v in layout.spec.items() if k != "image"}
    return Row(stored, label, entries, str(decoded) or type(decoded).__name__)
  entries = {k: v for k, v in decoded.items() if k != "image"}
  stored = decoded["image"]
  if layout.form == "jpeg":
    rows, columns = decoded["extent"]
    stored = as_stored(example["image"], shape[0]) or _jpeg(stored[:rows, :columns])
  return Row(stored, label, entries)


def _jpeg(pixels: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
  return file.getvalue()


def _decoded(
  reader: Reader, index: int, example: Example | None = None
) -> tuple[Example | None, dict[str, Any] | UnreadableError]:
  """Decodes an example -> it, and its arrays or what is wrong with it."""
  try:
    example = example or reader.source[index]
    decoded = {}
    for codec in reader.codecs:
      decoded |= codec.decode(example)
    return example, decoded
  except UnreadableError as error:
    reader.check_there(error)
    return example, error
