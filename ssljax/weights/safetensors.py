"""Files of .safetensors: a length, a JSON header, numbers."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ssljax.fields import ConfigError

Arrays = dict[str, np.ndarray]
DTYPES = {  # of safetensors
  **{"F64": np.float64, "F32": np.float32, "F16": np.float16},
  **{"BF16": ml_dtypes.bfloat16, "BOOL": np.bool_},
  **{"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8},
  **{"U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8},
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
MOST_HEADER = 100_000_000  # bytes, as safetensors itself has it


def read(path: pathlib.Path) -> tuple[Arrays, dict[str, str]]:
  """Reads a .safetensors file -> arrays by name, its texts."""
  data = np.memmap(path, np.uint8, "r") if path.stat().st_size else b""
  length = int.from_bytes(bytes(data[:8]), "little")
  if len(data) < 8 or not 2 <= length <= min(MOST_HEADER, len(data) - 8):
    raise ConfigError(
      f"{path} is no whole .safetensors file: its header is said to have {length} "
      f"bytes, and the file has {len(data)}"
    )
  try:
    header = json.loads(bytes(data[8 : 8 + length]))
    texts = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
    entries = {name: _entry(entry) for name, entry in header.items()}
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
      f"{path} is no .safetensors file: its header does not say what it holds "
      f"({type(error).__name__}: {error})"
    ) from error
  body = data[8 + length :]
  end = max((stop for *_, stop in entries.values()), default=0)
  if end > len(body):
    raise ConfigError(
      f"{path} is cut off: its tensors end at byte {8 + length + end} and the file at "
      f"{len(data)}; fetch it again"
    )
  arrays = {}
  for name, (dtype, shape, start, stop) in entries.items():
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not 0 <= start <= stop or stop - start != size or min(shape, default=0) < 0:
      raise ConfigError(
        f"{path} is damaged: {name} {list(shape)} needs {size} bytes and has "
        f"{stop - start}"
      )
    arrays[name] = body[start:stop].view(dtype).reshape(shape)
  return arrays, texts


def _entry(entry: Mapping[str, Any]) -> tuple[Any, tuple[int, ...], int, int]:
  start, stop = map(int, entry["data_offsets"])
  return DTYPES[entry["dtype"]], tuple(map(int, entry["shape"])), start, stop


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], texts: Mapping) -> None:
  """Writes arrays by name, and texts beside them."""
  header, end = {"__metadata__": {"format": "pt", **texts}}, 0
  for name, x in arrays.items():
    start, end = end, end + x.nbytes
    entry = {"dtype": NAMES[x.dtype], "shape": x.shape, "data_offsets": [start, end]}
    header[name] = entry
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  with path.open("wb") as file:
    file.write(len(text).to_bytes(8, "little") + text)
    for x in arrays.values():
      file.write(np.ascontiguousarray(x).tobytes())
