"""Features of patches on disk: one file, which NumPy maps."""

import pathlib

import numpy as np

from ssljax.fields import ConfigError

DTYPES = ("float32", "float16")


class Tokens:
  """The file of patches' features, written from its first row to its last.

  It is as long as all pictures at first, and cut where some could not be read.
  """

  def __init__(self, path: pathlib.Path, dtype: str, pictures: int):
    self.path, self.dtype, self.pictures, self.count = path, dtype, pictures, 0

  def skip(self, part: pathlib.Path) -> None:
    """Passes over the rows of a part that is there; ConfigError: they are not."""
    with np.load(part) as columns:
      self.count += len(columns["label"])
    if not self.path.exists() or len(np.load(self.path, mmap_mode="r")) < self.count:
      raise ConfigError(
        f"{self.path} lacks what {part} says it has; delete both, or name "
        "another folder: --workdir=..."
      )

  def append(self, x: np.ndarray) -> None:
    """Writes rows [n,h,w,D] behind what there is; ConfigError where they do not fit."""
    with np.errstate(over="ignore"):  # said below
      rows = x.astype(self.dtype)
    if np.isfinite(x).all() and not np.isfinite(rows).all():
      raise ConfigError(
        f"embed.dtype={self.dtype!r} holds numbers up to 65504, and patches have "
        f"features of {np.abs(x).max():.0f}; set --config.embed.dtype=float32"
      )
    if not self.count:
      shape = (self.pictures, *rows.shape[1:])
      np.lib.format.open_memmap(self.path, "w+", self.dtype, shape).flush()
    else:
      self._set_length(self.pictures)
    file = np.load(self.path, mmap_mode="r+")
    file[self.count : self.count + len(rows)] = rows
    file.flush()
    self.count += len(rows)

  def finish(self) -> None:
    """Cuts the file behind its last row."""
    self._set_length(self.count)

  def _set_length(self, rows: int) -> None:
    """Cuts or lengthens the file, and has its header say so."""
    file = np.load(self.path, mmap_mode="r")
    if len(file) == rows:
      return
    shape, row_bytes, start = (rows, *file.shape[1:]), file[:1].nbytes, file.offset
    header = {"descr": file.dtype.str, "fortran_order": False, "shape": shape}
    with self.path.open("r+b") as raw:
      np.lib.format.write_array_header_1_0(raw, header)
      if raw.tell() != start:  # NumPy leaves room for the digits of the first axis
        raise RuntimeError(f"the header of {self.path} has another length now")
      raw.truncate(start + rows * row_bytes)
