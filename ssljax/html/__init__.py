"""Pages out of what runs leave in their folders."""

from ssljax.html.page import Section, Table, figure, render, table
from ssljax.html.report import Run, history, read, write
from ssljax.html.results import (
  START,
  TRAINED,
  bars,
  examples,
  fallen,
  place,
  same_examples,
  settings,
  title,
)

__all__ = [
  "START",
  "TRAINED",
  "Run",
  "Section",
  "Table",
  "bars",
  "examples",
  "fallen",
  "figure",
  "history",
  "place",
  "read",
  "render",
  "same_examples",
  "settings",
  "table",
  "title",
  "write",
]
