"""Pages that open in any browser without a network, and can be sent to a colleague.

A page is one file: pictures are inside it, and it loads nothing.
"""

import base64
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
from absl import logging
from PIL import Image

from ssljax import figures, runs

MOST_COLUMNS = 7  # of a table; with more measures, each has a line
DOTS_PER_PIXEL = 1.6  # of a figure, so that its text is as large as the page's


class Table(NamedTuple):
  """Text in cells; `lines` are a title and (text, is the best) for each column."""

  title: str
  note: str
  head: Sequence[str]
  lines: Sequence[tuple[str, Sequence[tuple[str, bool]]]]
  style: str = ""  # or "words", to the left; or "folded", shown when asked for
  settings: Mapping[str, str] = {}  # that the numbers depend on, shown when asked for


class Figure(NamedTuple):
  """A PNG inside the page, with its caption."""

  source: str
  caption: str
  width: int
  height: int


class Section(NamedTuple):
  """A part of the page; without tables and figures it is left out."""

  title: str
  tables: Sequence[Table] = ()
  figures: Sequence[Figure] = ()


def render(path: pathlib.Path, **page: Any) -> pathlib.Path:
  """Fills the template and writes it to `path`; all text is escaped. -> `path`."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  runs.write(path, environment.get_template("page.html").render(page))
  return path


def table(
  title: str,
  note: str,
  rows: figures.Rows,
  style: str = "",
  settings: Mapping[str, str] | None = None,
) -> Table:
  """Lays out numbers as `figures.table` prints them; marks the best of each measure."""
  names = figures.columns(rows)
  winners = {name: figures.best(rows, name) for name in names}

  def cell(row, name):
    return figures.cell(rows[row], name), row in winners[name]

  if len(names) <= MOST_COLUMNS:
    head = list(map(figures.heading, names))
    lines = [(row, [cell(row, name) for name in names]) for row in rows]
  else:
    head = list(rows)
    lines = [
      (figures.heading(name), [cell(row, name) for row in rows]) for name in names
    ]
  return Table(title, note, head, lines, style, settings or {})


def is_png(path: pathlib.Path) -> bool:
  """Whether a figure is a whole PNG; what is none is named, to be left out."""
  try:
    with Image.open(path, formats=("PNG",)) as image:
      image.verify()
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
    logging.warning("%s is left out: it cannot be read as a PNG", path)
    return False
  return True


def figure(path: pathlib.Path, caption: str) -> Figure:
  """Embeds a PNG as it stands in a page."""
  with Image.open(path) as image:
    width, height = (round(n / DOTS_PER_PIXEL) for n in image.size)
  data = base64.b64encode(path.read_bytes()).decode()
  return Figure(f"data:image/png;base64,{data}", caption, width, height)
