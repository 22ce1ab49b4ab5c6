"""Features of every picture of a data set, as files that other tools read."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from ssljax.data.source import Subset
from ssljax.evals import features
from ssljax.fields import ConfigError, check_choice
from ssljax.judge import Judge

FORMATS = ("npz", "parquet")


def write(
  judge: Judge,
  state: Any,
  identity: dict[str, Any],
  folder: pathlib.Path,
  *,
  format: str = "npz",
  rows: int = 4096,
) -> pathlib.Path:
  """Features of all pictures under `state` -> `folder`/features.npz (or .parquet).

  Columns: "feature" f32 [N,D], "label" i32 [N] (-1: none), "path" str [N], "split" str
  [N] ("train" or "eval"). Pictures that cannot be read are left out. They are written
  `rows` at a time, so that the same line continues what was stopped; `identity` is
  what they depend on, and a folder with another's is refused by a ConfigError.
  Parquet needs pyarrow, the extra `parquet`.
  """
  check_choice("embed.format", format, FORMATS)
  if rows < 1:
    raise ConfigError(f"embed.rows={rows} must be 1 or more; try 4096")
  folder.mkdir(parents=True, exist_ok=True)
  _check_same(folder / "embed.json", {**identity, "rows": rows})
  embed = judge.embedding(state)
  parts = [
    (name, source, start)
    for name, source in zip(("train", "eval"), judge.splits, strict=True)
    if source is not None
    for start in range(0, len(source), rows)
  ]
  files = [folder / f"part-{i:05d}.npz" for i in range(len(parts))]
  for file, part in zip(tqdm(files, "parts"), parts, strict=True):
    if not file.exists():
      _write_part(file, judge, embed, rows, *part)
  path = folder / f"features.{format}"
  if jax.process_index() == 0:
    _join(files, path)
  return path


def _write_part(file, judge, embed, rows, name, source, start):
  part = Subset(source, range(start, min(start + rows, len(source))))
  batches = (b | {"label": b["index"]} for b in judge.batches(part))
  found, numbers = features.extract(embed, batches, judge.mesh)
  if jax.process_index():
    return
  label = np.array([source[start + i]["label"] for i in numbers], np.int32)
  path = np.array([source.path(start + i) for i in numbers])
  columns = {"feature": found, "label": label, "path": path}
  temporary = file.with_suffix(".tmp.npz")
  np.savez(temporary, split=np.full(len(label), name), **columns)
  temporary.replace(file)  # a half-written part is not there


def _join(files: list[pathlib.Path], path: pathlib.Path) -> None:
  columns = ("feature", "label", "path", "split")
  if path.suffix == ".npz":
    parts = [np.load(file) for file in files]
    np.savez(path, **{k: np.concatenate([part[k] for part in parts]) for k in columns})
    return
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError as error:
    raise ConfigError(
      "embed.format='parquet' needs pyarrow: pip install 'ssljax[parquet]'"
    ) from error
  writer = None
  for file in files:  # one at a time: all of them may not fit in memory
    part = np.load(file)
    dim = part["feature"].shape[1]
    table = pyarrow.table(
      {
        "feature": pyarrow.FixedSizeListArray.from_arrays(part["feature"].ravel(), dim),
        **{k: part[k] for k in columns[1:]},
      }
    )
    writer = writer or parquet.ParquetWriter(path, table.schema)
    writer.write_table(table)
  writer.close()


def _check_same(path: pathlib.Path, identity: dict[str, Any]) -> None:
  new = json.loads(json.dumps(identity, default=list))
  if path.exists():
    old = json.loads(path.read_text())
    differing = [k for k in new if old.get(k) != new[k]]
    if differing:
      raise ConfigError(
        f"{path.parent} holds features of other {' and '.join(differing)}; name "
        "another folder: --workdir=..."
      )
  elif jax.process_index() == 0:
    path.write_text(json.dumps(new, indent=2) + "\n")
