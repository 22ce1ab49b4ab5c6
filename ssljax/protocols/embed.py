"""Features on disk: for the next protocol, and as files that other tools read."""

import dataclasses
import functools
import hashlib
import importlib.util
import itertools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from ssljax import fields, provenance, runs, sharding
from ssljax.data import npz
from ssljax.data.source import Subset
from ssljax.evals import features
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, OneOf
from ssljax.judge import Judge
from ssljax.protocols.tokens import DTYPES, Tokens

FORMATS = ("npz", "parquet")
ARRAYS = (  # of a FeatureSet
  *("train_x", "train_y", "train_index"),
  *("test_x", "test_y", "test_index", "test_scores"),
)
COLUMNS = ("feature", "label", "path", "split")  # of a part
BROKEN = (*npz.BROKEN, KeyError, RuntimeError)  # the last: one bit says encrypted


class Kept:
  """Keeps features on disk, in the run's folder: the next protocol reads them there."""

  def __init__(self, run: pathlib.Path, identity: dict[str, Any]):
    """`identity` is all that the features depend on, besides their row."""
    self.folder, self.identity = run / "evals" / "features", identity

  def __call__(self, row: str, make: Callable[[], FeatureSet]) -> FeatureSet:
    """Returns the kept features of `row`, or what `make` gives; on every process."""
    text = json.dumps({"row": row, **self.identity}, sort_keys=True, default=list)
    path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if sharding.exists(path) and (stored := _load(path)):
      return stored
    feature_set = make()
    if jax.process_index() == 0:
      arrays = {name: getattr(feature_set, name) for name in (*ARRAYS, "num_classes")}
      try:
        self.folder.mkdir(parents=True, exist_ok=True)
        _save(path, {k: v for k, v in arrays.items() if v is not None})
      except OSError as error:  # a protocol that can do without
        logging.warning("%s: features are not kept (%s)", self.folder, error.strerror)
    return feature_set


def _load(path: pathlib.Path) -> FeatureSet | None:
  """Loads features that were kept; None, and a word, where the disk damaged them."""
  try:
    with np.load(path) as arrays:
      return FeatureSet(
        num_classes=int(arrays["num_classes"]),
        **{name: arrays[name] for name in ARRAYS if name in arrays},
      )
  except BROKEN as error:
    logging.warning("%s is damaged (%s): its features are made anew", path, error)
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
  """What `write` writes: the fields of the group `embed`."""

  format: Annotated[str, OneOf(FORMATS)] = "npz"
  rows: Count = 4096  # pictures of a part; patches of so many are in memory at once
  tokens: bool = False  # features of patches too, to tokens.npy
  block: str = ""  # of the encoder, whose patches those are; "": after the last
  dtype: Annotated[str, OneOf(DTYPES)] = "float32"  # of tokens.npy

  def __post_init__(self):
    """Raises ConfigError on what does not go together."""
    fields.check_instance("embed", self)
    if self.format == "parquet" and importlib.util.find_spec("pyarrow") is None:
      raise ConfigError(
        "embed.format='parquet' needs pyarrow: pip install 'ssljax[parquet]'"
      )
    if self.block and not self.tokens:
      raise ConfigError(
        f"embed.block={self.block!r} says whose patches are written, and none are: set "
        "--config.embed.tokens=True"
      )


def write(
  judge: Judge,
  state: Any,
  identity: dict[str, Any],
  folder: pathlib.Path,
  files: Files,
) -> pathlib.Path:
  """Writes features of all pictures under `state` to `folder`/features.npz or .parquet.

  Columns: "feature" f32 [N,D], "label" i32 [N] (-1: none), "path" str [N], "split" str
  [N] ("train" or "eval"). With `files.tokens` their patches' lie in tokens.npy
  [N,h,w,D], in the same order, which NumPy maps. Pictures that cannot be read are left
  out. They are written `files.rows` at a time, columns to `folder`/parts, so that the
  same line continues what was stopped, and makes anew what is damaged; `identity` is
  what they depend on, and a folder with another's is refused by a ConfigError.
  Parquet needs pyarrow, the extra `parquet`.
  """
  folder.mkdir(parents=True, exist_ok=True)
  asked = {"rows": files.rows}
  if files.tokens:
    asked |= {"tokens": True, "block": files.block, "dtype": files.dtype}
  _check_same(folder / "embed.json", {**identity, **asked})
  state = state.replace(opt_state=None)
  embed = {"feature": judge.embedding(state)}
  if files.tokens:
    patches = jax.jit(functools.partial(judge.parts.patches, block=files.block))
    embed["tokens"] = functools.partial(patches, state)
  parts = [
    (name, source, start)
    for name, source in zip(("train", "eval"), judge.splits, strict=True)
    if source is not None
    for start in range(0, len(source), files.rows)
  ]
  (folder / "parts").mkdir(exist_ok=True)
  pictures = sum(len(split) for split in judge.splits if split is not None)
  patch_file = None
  if files.tokens:
    patch_file = Tokens(folder / "tokens.npy", files.dtype, pictures)
  paths = [folder / "parts" / f"{i:05d}.npz" for i in range(len(parts))]
  progress = tqdm(paths, "parts", disable=jax.process_index() > 0)
  for i, (path, part) in enumerate(zip(progress, parts, strict=True)):
    if not _is_whole(path):
      if patch_file and jax.process_index() == 0:  # their rows may move: all anew
        for behind in itertools.takewhile(pathlib.Path.exists, paths[i + 1 :]):
          behind.unlink()
      _write_part(path, judge, embed, patch_file, files.rows, *part)
    elif patch_file and jax.process_index() == 0:
      patch_file.skip(path)
  path = folder / f"features.{files.format}"
  if jax.process_index() == 0:
    if patch_file:
      patch_file.finish()
    _join(paths, path)
  return path


def _write_part(file, judge, embed, patch_file, rows, name, source, start):
  part = Subset(source, range(start, min(start + rows, len(source))))

  def extract(batch):
    return {column: function(batch) for column, function in embed.items()}

  batches = (b | {"label": b["index"]} for b in judge.batches(part))
  columns, numbers = features.extract(extract, batches, judge.mesh)
  if jax.process_index():
    return
  if patch_file:
    patch_file.append(columns.pop("tokens"))
  label = np.array([source[start + i]["label"] for i in numbers], np.int32)
  path = np.array([source.path(start + i) for i in numbers])
  columns |= {"label": label, "path": path}
  _save(file, {"split": np.full(len(label), name), **columns})


def _save(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes the whole file or none of it, whoever else writes it."""
  temporary = file.with_suffix(f".{os.getpid()}.npz")
  try:
    np.savez(temporary, **arrays)
    temporary.replace(file)
  finally:
    temporary.unlink(missing_ok=True)


def _is_whole(file: pathlib.Path) -> bool:
  """Whether process 0 finds a part there as it was written; damage is said."""
  why = "it is not there"
  if jax.process_index() == 0 and file.exists():
    try:
      _read(file)
      why = ""
    except BROKEN as error:
      why = str(error)
      logging.warning("%s is damaged (%s): it is made anew", file, why)
  return not sharding.told(why)


def _read(file: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads a part; raises BROKEN."""
  with np.load(file) as part:
    return {name: part[name] for name in COLUMNS}


def _join(files: list[pathlib.Path], path: pathlib.Path) -> None:
  if path.suffix == ".npz":
    parts = [_read(file) for file in files]
    _save(path, {k: np.concatenate([part[k] for part in parts]) for k in COLUMNS})
    return
  import pyarrow
  from pyarrow import parquet

  writer = None
  for file in files:  # one at a time: all of them may not fit in memory
    part = _read(file)
    dim = part["feature"].shape[1]
    table = pyarrow.table(
      {
        "feature": pyarrow.FixedSizeListArray.from_arrays(part["feature"].ravel(), dim),
        **{k: part[k] for k in COLUMNS[1:]},
        "path": [_utf8(path) for path in part["path"].tolist()],
      }
    )
    writer = writer or parquet.ParquetWriter(path, table.schema)
    writer.write_table(table)
  writer.close()


def _utf8(path: str) -> str:
  """Writes a path in UTF-8, as Parquet's strings are: other bytes are written out."""
  return os.fsencode(path).decode("utf-8", "backslashreplace")


def _check_same(path: pathlib.Path, identity: dict[str, Any]) -> None:
  new = json.loads(json.dumps(identity, default=list))
  if sharding.exists(path):
    try:
      old = {**json.loads(path.read_text("utf-8"))}
    except (ValueError, TypeError) as error:
      raise ConfigError(
        f"{path} is damaged ({error}) and no longer tells whose features lie there; "
        f"delete it and {path.parent / 'parts'}, or name another folder: --workdir=..."
      ) from error
    differing = [k for k in new if k != "identity" and old.get(k) != new[k]]
    if provenance.differences(old.get("identity", {}), new["identity"]):
      differing.append("pictures")
    if differing:
      raise ConfigError(
        f"{path.parent} holds features of other {' and '.join(differing)}; name "
        "another folder: --workdir=..."
      )
  elif jax.process_index() == 0:
    runs.write(path, json.dumps(new, indent=2) + "\n")
