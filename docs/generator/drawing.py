"""A method's networks and targets as SVG, out of a description of its lanes.

A lane is a list of words from top to bottom: what goes in, the networks it passes, and
perhaps "stop", where the gradient does. All lanes end in the loss.

  - [view 1, encoder, projector, predictor]
  - [view 2, slow encoder, slow projector, stop]

Neighbours of one name are one network, drawn once and wide. "slow X" is an average of
the X beside it. What begins with a word of MEMORY is kept between steps. Colours are
those of the page, by the classes of static/site.css.
"""

import html
import textwrap

WIDTH, HEIGHT, ACROSS, DOWN = 132, 40, 60, 30  # of a box, and between boxes
LETTERS = 17  # of a line in a box
MEMORY = ("queue", "bank", "centre", "running")  # and "slow X" is a copy of X


def svg(lanes, loss, title):
  """Draws lanes and the loss they end in -> the text of an `<svg>`, without gaps."""
  stops = [lane[-1] == "stop" for lane in lanes]
  lanes = [lane[:-1] if stop else lane for lane, stop in zip(lanes, stops, strict=True)]
  rows = max(map(len, lanes))
  width = len(lanes) * (WIDTH + ACROSS) - ACROSS
  height = (rows + 1) * (HEIGHT + DOWN) - DOWN + 12
  parts = []
  for row in range(rows):
    names = [lane[row] if row < len(lane) else None for lane in lanes]
    for first, last, name in runs(names):
      parts += box(left(first), top(row), left(last) + WIDTH, name, kind(name, row))
    parts += averages(names, row)
  for column, (lane, stop) in enumerate(zip(lanes, stops, strict=True)):
    for row in range(len(lane)):
      end = rows if row == len(lane) - 1 else row + 1
      parts += arrow(left(column) + WIDTH / 2, top(row) + HEIGHT, top(end))
    if stop:
      last = column == len(lanes) - 1
      parts += bar(left(column) + WIDTH / 2, top(rows) - DOWN / 2 - 3, last)
  parts += box(0, top(rows), width, loss, "loss", letters=round(width / 7.4))
  head = (
    f'<svg class="networks" viewBox="-2 -2 {width + 4} {height + 4}" '
    f'width="{width + 4}" style="min-width: {0.7 * width:.0f}px" role="img" '
    f'xmlns="http://www.w3.org/2000/svg">'
    f"<title>{html.escape(title)}</title>"
  )
  return "\n".join([head, *parts, "</svg>"])


def left(column):
  """Says where a lane begins."""
  return column * (WIDTH + ACROSS)


def top(row):
  """Says where a row begins."""
  return row * (HEIGHT + DOWN)


def runs(names):
  """Yields (first, last, name) of neighbours that are one network."""
  first = 0
  for column in range(1, len(names) + 1):
    if column == len(names) or names[column] != names[first]:
      if names[first] is not None:
        yield first, column - 1, names[first]
      first = column


def kind(name, row):
  """Says how a box looks: its class in static/site.css."""
  if name.startswith(MEMORY):
    return "memory"
  if name.startswith("slow "):
    return "slow"
  return "net" if row else "data"


def box(x, y, end, text, look, letters=LETTERS):
  """Draws a box and the one or two lines in it."""
  round_by = HEIGHT / 2 if look == "data" else 6
  lines = textwrap.wrap(text, max(letters, LETTERS))
  middle, base = (x + end) / 2, y + HEIGHT / 2 + 5 - 8 * (len(lines) - 1)
  yield (
    f'<rect class="{look}" x="{x}" y="{y}" width="{end - x}" height="{HEIGHT}" '
    f'rx="{round_by}"/>'
  )
  for number, line in enumerate(lines):
    yield (
      f'<text x="{middle}" y="{base + 16 * number}" text-anchor="middle">'
      f"{html.escape(line)}</text>"
    )


def arrow(x, start, end):
  """Draws an arrow down."""
  yield f'<path class="flow" d="M{x} {start}V{end - 2}m-4 -6l4 6l4 -6"/>'


def bar(x, y, last):
  """Draws where the gradient stops, and says so: on the left in the last lane."""
  side, anchor = (-14, "end") if last else (14, "start")
  yield f'<path class="stop" d="M{x - 9} {y}h18m-18 5h18"/>'
  yield (
    f'<text class="small" x="{x + side}" y="{y + 7}" text-anchor="{anchor}">'
    "no gradient</text>"
  )


def averages(names, row):
  """Draws an arrow from each network to the slow copy beside it."""
  for column, name in enumerate(names):
    if name is None or not name.startswith("slow "):
      continue
    for other in (column - 1, column + 1):
      if 0 <= other < len(names) and names[other] == name.removeprefix("slow "):
        y, way = top(row) + HEIGHT / 2, 1 if other < column else -1
        start = left(other) + (WIDTH if way > 0 else 0)
        end = left(column) + (0 if way > 0 else WIDTH) - 2 * way
        yield f'<path class="average" d="M{start} {y}H{end}"/>'
        head = f"M{end - 6 * way} {y - 4}l{6 * way} 4l{-6 * way} 4"
        yield f'<path class="flow" d="{head}"/>'
        middle = (start + end) / 2
        yield (
          f'<text class="small" x="{middle}" y="{y - 6}" text-anchor="middle">'
          "average</text>"
        )
        break
