"""Lists of what there is: recipes, protocols, the fields of one."""

import ast
import pathlib
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from ssljax import fields, figures, recipe, schedules
from ssljax.command_line import HOME, load
from ssljax.fields import ranges
from ssljax.protocols import evaluate as protocols

WIDTH = 100  # columns of a list
CLAIM = re.compile(r"(Paper|Official|lightly|Demo|keras\.io|Not from)\b.*?:? ")


def recipes() -> str:
  """Lists every recipe by method, with its claim, and every protocol."""
  found = []
  for file in sorted((HOME / "configs").glob("*_*.py")):
    _, config = load(str(file))
    found.append((config.method.name, file.stem, config.data.name, file))
  order = list(recipe.methods.METHODS)
  found.sort(key=lambda r: (order.index(r[0]), r[1]))
  lines = [[m, n, d, " ".join(_variants(f))] for m, n, d, f in found]
  claims = [_claim(file) for *_, file in found]
  table = figures.aligned(
    [["method", "recipe", "data", "variants"], *lines], words=True
  )
  head, *rows = table.split("\n")
  text = ["Recipes, --config configs/RECIPE.py[:variant]:", head]
  for row, claim in zip(rows, claims, strict=True):
    text += [
      row,
      *textwrap.wrap(claim, WIDTH, initial_indent="    ", subsequent_indent="    "),
    ]
  for title, room in (
    ("Protocols, --config configs/eval/PROTOCOL.py --config.checkpoint=RUN:", "eval"),
    ("Weights, --config configs/weights/COMMAND.py:", "weights"),
  ):
    text += ["", title]
    for file in sorted((HOME / "configs" / room).glob("*.py")):
      if file.stem != "common":
        text.append(f"  {file.stem:24} {_docstring(file).split(chr(10))[0]}")
  return "\n".join([*text, "", "The fields of one: --config FILE --fields"])


def fields_text(config: ConfigDict) -> str:
  """Lists every field of a config: value, what may be, default, source."""
  groups = (protocols if "evaluator" in config else recipe).declare(config)
  lines = [["field", "value", "may be", "default", "declared in"]]
  for group in groups:
    lines += _lines(group, fields.at(config, group.path))
  return figures.aligned(lines, words=True)


def _lines(group: fields.Group, values: Mapping) -> Iterator[list[str]]:
  """Yields a line for each field of a group, and for those of the schedules in it."""
  for name, field in group.fields.items():
    value, path = values.get(name, fields.MISSING), fields.join(group.path, name)
    is_schedule = isinstance(value, Mapping | ConfigDict) and "kind" in value
    if isinstance(value, ConfigDict) and not is_schedule:
      continue
    value_text = "a schedule" if is_schedule else _shown(value)
    allowed = ranges.describe(field.hint)
    yield [path, value_text, allowed, _shown(field.default), field.source]
    if is_schedule:
      yield from _lines(schedules.declare(path, value), value)


def _shown(value: Any) -> str:
  if value is fields.MISSING:
    return "-"
  text = str(value)
  return text if text else '""'


def _docstring(file: pathlib.Path) -> str:
  return ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""


def _variants(file: pathlib.Path) -> list[str]:
  """Lists `:smoke`, which all have, and the variants that the docstring shows."""
  named = re.findall(rf"{file.stem}\.py(:\w+)", _docstring(file))
  return list(dict.fromkeys([":smoke", *named]))


def _claim(file: pathlib.Path) -> str:
  """Returns the docstring's paragraph of what was reached, from the figure on."""
  paragraphs = _docstring(file).split("\n\n")
  reached = next((p for p in paragraphs if "Ours: " in p), paragraphs[-1])
  text = " ".join(reached.split())
  match = CLAIM.search(text)
  return text[match.start() :] if match else text
