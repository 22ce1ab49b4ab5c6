"""A file of NumPy's arrays, of which whatever is wrong is said in one sentence."""

import pathlib
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from ssljax.data import labels
from ssljax.fields import ConfigError

BROKEN = (  # what NumPy raises where a file is cut, damaged or of another kind
  *(OSError, ValueError, EOFError, MemoryError, NotImplementedError),
  *(zipfile.BadZipFile, zlib.error),
)


def read(
  path: pathlib.Path, planes: Sequence[tuple[str, int]]
) -> dict[str, np.ndarray]:
  """Reads `planes`, pairs of a name and a number of channels, and perhaps "label".

  A plane is [N,H,W,channels] or, of one channel, [N,H,W]; N >= 1 is the same for all.
  What is not read is said aloud. Raises ValueError.
  """
  try:
    with np.load(path, allow_pickle=False) as file:  # an array alone is no context
      missing = [name for name, _ in planes if name not in file]
      if not missing:
        names = [name for name, _ in planes] + ["label"] * ("label" in file)
        arrays = {name: file[name] for name in names}
      stored = list(file)
  except (*BROKEN, TypeError) as error:
    reason = f"{type(error).__name__}: {error}"
    raise ConfigError(
      f"data.dir: {str(path)!r} is no file of plain arrays ({reason}); write it with "
      "numpy.savez"
    ) from error
  if missing:
    raise ConfigError(
      f"data.planes: {str(path)!r} has no {missing[0]!r}; it has {', '.join(stored)}"
    )
  first = arrays[planes[0][0]]
  for name, channels in planes:
    _check(path, name, arrays[name], len(first) if first.ndim else 0, channels)
  labels.warn_unread(str(path), stored, arrays)
  return arrays


def _check(path: pathlib.Path, name: str, x: np.ndarray, n: int, channels: int) -> None:
  flat = channels == 1 and x.ndim == 3
  if x.shape[:1] != (n,) or not (flat or (x.ndim == 4 and x.shape[3] == channels)):
    raise ConfigError(
      f"data.planes: {name!r} of {str(path)!r} is {list(x.shape)} and must be "
      f"[{n},H,W,{channels}]; correct the array, or its number of channels"
    )
  if not x.size:
    raise ConfigError(f"data.dir: {name!r} of {str(path)!r} is {list(x.shape)}: empty")
  if x.dtype.kind not in "biuf":
    raise ConfigError(
      f"data.planes: {name!r} of {str(path)!r} is of type {x.dtype}; pictures are of "
      "real numbers"
    )
