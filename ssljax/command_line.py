"""What people type: a config's file, its fields, and lists of what there is.

`config_flags` of ml_collections reads fields too, and refuses what people write most:
`at_end=knn,linear` without quotes, `steps=None`, a number where a schedule stands.
"""

import ast
import difflib
import importlib.util
import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ssljax import fields, figures, recipe, schedules
from ssljax.fields import ConfigError, as_path, ranges
from ssljax.protocols import evaluate as protocols

WIDTH = 100  # columns of a list
CLAIM = re.compile(r"(Paper|Official|lightly|Demo|keras\.io|Not from)\b.*?:? ")


def split(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
  """Splits arguments: ("data.name", "cifar10") of --config.data.name=cifar10, the rest.

  ConfigError on a field without a value.
  """
  overrides, rest, remaining = [], [], iter(arguments)
  for argument in remaining:
    flag, equals, text = argument.partition("=")
    name = flag.lstrip("-")
    if name == flag or not name.startswith("config."):
      rest.append(argument)
      continue
    if not equals:
      text = next(remaining, None)
      if text is None or text.startswith("--"):
        raise ConfigError(f"{flag} has no value; write {flag}=VALUE")
    overrides.append((name.removeprefix("config."), text))
  return overrides, rest


def load(argument: str, home: pathlib.Path) -> tuple[str, ConfigDict]:
  """Loads FILE[:variant] -> the config's name, and what its `get_config` gives.

  The file is looked for here, then in the folder `home`, which has `configs/`; the name
  alone will do. ConfigError where there is none, and on a variant it does not know.
  """
  path, _, variant = argument.partition(":")
  file = _find(path, home)
  spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise ConfigError(f"--config={path} defines no get_config(variant), as configs do")
  if variant and not inspect.signature(module.get_config).parameters:
    raise ConfigError(f"config {file.stem} has no variants, and ':{variant}' is one")
  try:
    config = module.get_config(*([variant] if variant else []))
  except ValueError as error:
    raise ConfigError(str(error)) from error
  return file.stem, config


def override(config: ConfigDict, path: str, text: str) -> None:
  """Sets the field at `path` to what `text` means there.

  ConfigError where the config has no such group, or the text cannot be the field's
  value; a field that does not exist is set, and named where the config is checked.
  """
  *groups, name = path.split(".")
  group, at = config, ""
  for part in groups:
    at = f"{at}.{part}" if at else part
    group = group.get(part) if part in group else None
    if not isinstance(group, ConfigDict):
      is_value = group is not None
      hint = f"; {at} is {group!r}" if is_value else _near(part, config)
      raise ConfigError(f"the config has no such group: {at!r}{hint}")
  value = _parse(f"--config.{path}", text, group.get(name))
  with group.unlocked(), group.ignore_type():
    group[name] = value


def help_text(usage: str, home: pathlib.Path) -> str:
  """Writes how to call the program, then every recipe and protocol with its claim."""
  recipes = []
  for file in sorted((home / "configs").glob("*_*.py")):
    _, config = load(str(file), home)
    recipes.append((config.method.name, file.stem, config.data.name, file))
  order = list(recipe.methods.METHODS)
  recipes.sort(key=lambda r: (order.index(r[0]), r[1]))
  lines = [[m, n, d, " ".join(_variants(f))] for m, n, d, f in recipes]
  claims = [_claim(file) for *_, file in recipes]
  table = figures.aligned(
    [["method", "recipe", "data", "variants"], *lines], words=True
  )
  head, *rows = table.split("\n")
  text = [usage, "", "Recipes, --config configs/RECIPE.py[:variant]:", head]
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
    for file in sorted((home / "configs" / room).glob("*.py")):
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


def _find(path: str, home: pathlib.Path) -> pathlib.Path:
  here = as_path(path)
  tried = [here, home / here, home / "configs" / here]
  tried += [file.with_name(f"{file.name}.py") for file in tried]
  if file := next((f for f in tried if f.is_file()), None):
    return file
  recipes = {f.stem: f for f in _files(home)}
  near = difflib.get_close_matches(here.stem, recipes, n=1)
  hint = f"; did you mean {recipes[near[0]].relative_to(home)}?" if near else ""
  raise ConfigError(
    f"--config={path} is no file, here or in {home}{hint}; --help lists all recipes"
  )


def _files(home: pathlib.Path) -> Iterator[pathlib.Path]:
  for file in sorted((home / "configs").rglob("*.py")):
    if file.stem != "common":
      yield file


def _parse(flag: str, text: str, old: Any) -> Any:
  """Parses what a text means where `old` stands."""
  if text == "None":
    return None
  if isinstance(old, str):
    return text
  value = _literal(text)
  if isinstance(old, bool):
    words = {"true": True, "false": False, "1": True, "0": False}
    if text.lower() not in words:
      raise ConfigError(f"{flag}={text} must be True or False")
    return words[text.lower()]
  if isinstance(old, (tuple, list)):
    if isinstance(value, (tuple, list)):
      return tuple(value)
    items = (item.strip() for item in text.split(","))
    return tuple(_literal(item) for item in items if item)
  if isinstance(value, dict):
    return ConfigDict(value)
  if isinstance(old, int) and isinstance(value, float) and value.is_integer():
    return int(value)  # 1e5 steps
  if isinstance(old, (int, float, ConfigDict)) and isinstance(value, str):
    allowed = "a number or a dict" if isinstance(old, ConfigDict) else "a number"
    raise ConfigError(f"{flag}={text} must be {allowed}")
  return value


def _literal(text: str) -> Any:
  """Parses a value of Python, or returns the text itself."""
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text


def _near(name: str, config: ConfigDict) -> str:
  groups = [k for k, v in config.items() if isinstance(v, ConfigDict)]
  near = difflib.get_close_matches(name, groups, n=1)
  return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(groups)}"


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
