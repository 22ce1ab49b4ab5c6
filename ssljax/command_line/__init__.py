"""What people type: a config's file and its fields.

`config_flags` of ml_collections reads fields too, and refuses what people write most:
`at_end=knn,linear` without quotes, `steps=None`, a number where a schedule stands.
"""

import ast
import difflib
import importlib.util
import inspect
import pathlib
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from ssljax.fields import ADDRESS, ConfigError, as_path

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# The folder of `configs/`: the package itself as it is installed, a clone in a clone.
HOME = PACKAGE if (PACKAGE / "configs").is_dir() else PACKAGE.parent


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


def load(argument: str) -> tuple[str, ConfigDict]:
  """Loads FILE[:variant] -> the config's name, and what its `get_config` gives.

  The file is looked for here, then in HOME; the name alone will do. ConfigError where
  there is none, and on a variant it does not know.
  """
  path, _, variant = argument.partition(":")
  file = _find(path)
  if "configs" not in sys.modules:  # which configs import each other from
    package = types.ModuleType("configs")
    package.__path__ = [str(HOME / "configs")]
    sys.modules["configs"] = package
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
  try:
    value = _parse(f"--config.{path}", text, group.get(name))
  except (ValueError, TypeError) as error:  # of ConfigDict, on names of fields
    if isinstance(error, ConfigError):
      raise
    raise ConfigError(
      f"--config.{path}={text}: {error}; in a pattern [^/] stands for any character"
    ) from error
  with group.unlocked(), group.ignore_type():
    group[name] = value


def _find(path: str) -> pathlib.Path:
  here = pathlib.Path(path) if ADDRESS.match(path) else as_path(path)
  if not here.name:
    raise ConfigError(f"--config={path} names no file; --help lists all recipes")
  tried = [here, HOME / here, HOME / "configs" / here]
  tried += [file.with_name(f"{file.name}.py") for file in tried]
  if file := next((f for f in tried if f.is_file()), None):
    if file.suffix != ".py":
      raise ConfigError(
        f"--config={path} is no recipe, which is a file of Python; fields of another "
        "kind of config are set one by one: --config.FIELD=VALUE"
      )
    return file
  recipes = {f.stem: f for f in files()}
  near = difflib.get_close_matches(here.stem, recipes, n=1)
  hint = f"; did you mean {recipes[near[0]].relative_to(HOME)}?" if near else ""
  raise ConfigError(
    f"--config={path} is no file, here or in {HOME}{hint}; --help lists all recipes"
  )


def files() -> Iterator[pathlib.Path]:
  """Yields the files of all recipes, protocols and commands."""
  for file in sorted((HOME / "configs").rglob("*.py")):
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
  if isinstance(old, ConfigDict) and "kind" not in old:
    fields = f", as in {flag}.{next(iter(old))}=..." if old else ""
    raise ConfigError(f"{flag}={text} must be a dict of fields{fields}")
  if isinstance(old, (int, float, ConfigDict)) and isinstance(value, str):
    allowed = "a number or a dict" if isinstance(old, ConfigDict) else "a number"
    raise ConfigError(f"{flag}={text} must be {allowed}")
  return value


def _literal(text: str) -> Any:
  """Parses a value of Python, or returns the text itself."""
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
    return text


def _near(name: str, config: ConfigDict) -> str:
  groups = [k for k, v in config.items() if isinstance(v, ConfigDict)]
  near = difflib.get_close_matches(name, groups, n=1)
  return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(groups)}"
