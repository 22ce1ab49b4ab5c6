"""Arrays in temporary files: features of patches are more than memory holds."""

import shutil
import tempfile
from collections.abc import Callable, Iterable

import jax
import numpy as np
from jax.sharding import Mesh

from ssljax.evals import features
from ssljax.fields import ConfigError


def extracted(
  embed: Callable[[dict[str, jax.Array]], jax.Array],
  batches: Iterable[dict[str, np.ndarray]],
  count: int,
  mesh: Mesh,
) -> np.ndarray:
  """Extracts features of at most `count` pictures as `features.extract` -> [N,...]."""
  parts = features.extracted(embed, batches, mesh)
  return stacked(((x.astype(np.float32),) for x, _ in parts), count)[0]


def stacked(parts: Iterable[tuple], count: int) -> tuple[np.ndarray, ...]:
  """Writes tuples of arrays [b,...], at most `count` rows in all, to temporary files.

  -> the arrays [N,...], mapped.
  """
  files, row = (), 0
  for arrays in parts:
    files = files or _room([((count, *x.shape[1:]), x.dtype) for x in arrays])
    for file, x in zip(files, arrays, strict=True):
      file[row : row + len(x)] = x
    row += len(arrays[0])
  return tuple(file[:row] for file in files)


def _room(arrays: list[tuple[tuple[int, ...], np.dtype]]) -> tuple[np.memmap, ...]:
  """Maps temporary files for arrays; ConfigError where the disk has no room."""
  place = tempfile.gettempdir()
  need = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in arrays)
  free = shutil.disk_usage(place).free
  if need > free:
    raise ConfigError(
      f"the patches of {arrays[0][0][0]} pictures need {need / 2**30:.1f} GiB, and the "
      f"temporary folder {place} has {free / 2**30:.1f}; name a larger one by the "
      "environment's TMPDIR, or fewer pictures by --config.data.train_split"
    )
  files = []
  for shape, dtype in arrays:
    with tempfile.TemporaryFile() as file:  # gone with the array that maps it
      files.append(np.memmap(file, dtype, "w+", shape=shape))
  return tuple(files)
