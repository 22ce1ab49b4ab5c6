"""Pickles of arrays alone, such as Detectron2's, read without calling anything else.

BYOL's (dill's) names a few classes of its code and of Haiku's, which hold arrays. They
are not looked for: what would be one of theirs becomes a dict of what it was given.
"""

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
  *((f"{core}.multiarray", "scalar") for core in CORES),
  *((f"{core}.numeric", "_frombuffer") for core in CORES),
  *((module, "bytearray") for module in ("builtins", "__builtin__")),
  *((module, "bytes") for module in ("builtins", "__builtin__")),
  ("_codecs", "encode"),
}


HOLDERS = {  # a class of whatever module -> the fields of a tuple, (): a mapping
  "_ByolExperimentState": (
    *("online_params", "target_params", "online_state", "target_state", "opt_state"),
  ),
  "LarsState": ("count", "trace"),
  **dict.fromkeys(("frozendict", "FlatMapping", "FlatMap"), ()),
}


class _Holder(dict):
  """Stands for an object of another program: a dict of the arrays that it was given."""

  names: tuple[str, ...] = ()

  def __new__(cls, *values: Any, **_: Any) -> "_Holder":
    held = super().__new__(cls)
    held.fill(values)
    return held

  def __init__(self, *values: Any, **_: Any):
    super().__init__(self)

  def __setstate__(self, state: Any) -> None:
    parts = state if isinstance(state, tuple) else (state,)
    for part in parts:
      if isinstance(part, Mapping):  # of attributes, one of which is the mapping
        self.fill([x for x in part.values() if isinstance(x, Mapping)])

  def fill(self, values: Any) -> None:
    """Takes up a tuple's fields by name, or the mappings among `values`."""
    if self.names:
      self.update(zip(self.names, values, strict=False))
    else:
      for value in values:
        self.update(value if isinstance(value, Mapping) else {})


class _Reader(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    if name in HOLDERS:
      return type(name, (_Holder,), {"names": HOLDERS[name]})
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
