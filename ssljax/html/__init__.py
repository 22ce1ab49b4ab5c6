"""Pages out of what runs leave in their folders."""

from ssljax.html.page import Table, figure, render, settings, table
from ssljax.html.report import TRAINED, Run, bars, protocol_note, read, write

__all__ = [
  "TRAINED",
  "Run",
  "Table",
  "bars",
  "figure",
  "protocol_note",
  "read",
  "render",
  "settings",
  "table",
  "write",
]
