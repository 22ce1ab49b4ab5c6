"""Pickles of arrays alone, such as Detectron2's, read without calling anything else."""

import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

AUTHOR = "ssljax"
TORCH = 0x1950A86A20F9469CFC6C  # what torch.save once began with
CORES = "numpy.core", "numpy._core"  # before and after version 2
KNOWN = {
  *(("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict")),
  *((f"{core}.multiarray", "_reconstruct") for core in CORES),
  *((f"{core}.numeric", "_frombuffer") for core in CORES),
  *((module, "bytearray") for module in ("builtins", "__builtin__")),
  *((module, "bytes") for module in ("builtins", "__builtin__")),
  ("_codecs", "encode"),
}


class _Reader(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in KNOWN:
      raise pickle.UnpicklingError(f"it would call {module}.{name}")
    return super().find_class(module, name)


class _Writer(pickle.Pickler):
  def reducer_override(self, x: Any) -> Any:
    if not isinstance(x, np.ndarray):
      return NotImplemented
    # By names that every version of NumPy has; its own way has those of one.
    return np.ndarray, (x.shape, x.dtype.str, bytearray(x.tobytes()))


def read(path: pathlib.Path) -> Any:
  """Reads what pickle.dump wrote; UnpicklingError where it would call for more.

  TORCH stands for what torch.save wrote, which is not read here.
  """
  with path.open("rb") as file:
    return _Reader(file, encoding="latin1").load()


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays as Detectron2's DetectionCheckpointer reads them."""
  with path.open("wb") as file:
    found = {"model": dict(arrays), "__author__": AUTHOR, "matching_heuristics": True}
    _Writer(file, protocol=4).dump(found)
