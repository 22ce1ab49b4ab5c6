"""Pages out of what runs leave in their folders."""

from ssljax.html.page import Figure, Section, Table, figure, render, table
from ssljax.html.report import Run, history, read, seen, write
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
  "Figure",
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
  "seen",
  "settings",
  "table",
  "title",
  "write",
]
