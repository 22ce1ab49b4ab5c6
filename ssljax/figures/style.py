"""How all figures look, and how they come into their files."""

import io
import os
import pathlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure

STYLE = {
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.edgecolor": "0.4",
  "axes.grid": True,
  "axes.titlelocation": "left",
  "axes.titlesize": 12,
  "axes.titleweight": "bold",
  "figure.constrained_layout.use": True,
  "figure.dpi": 150,
  "font.size": 10,
  "grid.color": "0.9",
  "legend.frameon": False,
  "text.parse_math": False,  # a "$" in a name of a class is a dollar
  "xtick.color": "0.3",
  "ytick.color": "0.3",
}
RIGHT, WRONG = "#1b9e77", "#d95f02"  # apart for the colour-blind too


def class_colours(n: int) -> np.ndarray:
  """Picks RGB or RGBA [at least n,3 or 4], one for each class."""
  if n <= 20:
    return np.array(matplotlib.colormaps["tab10" if n <= 10 else "tab20"].colors)
  return matplotlib.colormaps["gist_rainbow"](np.linspace(0, 1, n))


def displayable(image: np.ndarray) -> np.ndarray:
  """Converts pictures to what imshow takes: uint8, or float clipped to [0,1]."""
  return image if image.dtype == np.uint8 else np.clip(image, 0, 1)


def save(fig: Figure, path: str | os.PathLike) -> None:
  """Writes a PNG, the whole file or none of it, whoever else writes it."""
  path, drawn = pathlib.Path(path), io.BytesIO()
  fig.savefig(drawn, format="png")
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  try:
    temporary.write_bytes(drawn.getvalue())
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
