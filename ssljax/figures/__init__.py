"""Pictures and tables of a run. Each picture's function writes one PNG.

None touches pyplot or changes matplotlib's settings.
"""

from ssljax.figures.grids import (
  attention,
  by_class,
  by_value,
  filters,
  holding,
  neighbours,
  patch_colours,
  pictures,
)
from ssljax.figures.spaces import confusion, embedding, similarities, spectra
from ssljax.figures.steps import curves, overlay
from ssljax.figures.tables import Rows, aligned, best, cell, columns, heading, table

__all__ = [
  "Rows",
  "aligned",
  "attention",
  "best",
  "by_class",
  "by_value",
  "cell",
  "columns",
  "confusion",
  "curves",
  "embedding",
  "filters",
  "heading",
  "holding",
  "neighbours",
  "overlay",
  "patch_colours",
  "pictures",
  "similarities",
  "spectra",
  "table",
]
