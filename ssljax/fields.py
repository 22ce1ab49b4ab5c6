"""What a config may say, and the sentence about what it may not say."""

import contextlib
import difflib
import inspect
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


class ConfigError(ValueError):
  """A config that cannot run; its message is meant for the person who wrote it."""


def as_path(value: str | os.PathLike) -> pathlib.Path:
  """A path as a person writes it: `~` is their home. ConfigError where it is nobody's.

  Whatever names a file or a folder from outside comes through here.
  """
  try:
    return pathlib.Path(value).expanduser()
  except RuntimeError as error:
    raise ConfigError(f"{os.fspath(value)!r} begins with no one's home") from error


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
  """What is raised inside for a wrong type or value is the config's fault."""
  try:
    yield
  except (TypeError, ValueError) as error:
    raise ConfigError(" ".join(str(error).split())) from error


def check_choice(field: str, value: Any, known: Iterable[str]) -> None:
  """ConfigError unless `value` is one of `known`."""
  if value not in known:
    hint = _hint(str(value), known)
    raise ConfigError(f"{field}={value!r} must be one of {', '.join(known)}{hint}")


def check_names(
  owner: str, given: Mapping, known: Iterable[str], needed: Iterable[str] = ()
) -> None:
  """ConfigError on a field that is not `known`, and on a `needed` one not `given`."""
  listed = ", ".join(known)
  for name in given:
    if name not in known:
      raise ConfigError(
        f"{owner} has no field {name}={given[name]!r}; it has {listed}"
        f"{_hint(name, known)}"
      )
  for name in needed:
    if name not in given:
      raise ConfigError(f"{owner} needs the field {name}; it has {listed}")


def check_keywords(owner: str, given: Mapping, *functions: Callable) -> None:
  """`check_names` by the keyword-only parameters that `functions` have together."""
  own = {k: p for function in functions for k, p in keywords(function).items()}
  needed = [name for name, p in own.items() if p.default is p.empty]
  check_names(owner, given, own, needed)


def keywords(function: Callable) -> dict[str, inspect.Parameter]:
  """The keyword-only parameters of a function or dataclass, by name."""
  parameters = inspect.signature(function).parameters
  return {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
  """A tree of dicts -> {"data.name": "cifar10", ...}."""
  if not isinstance(tree, dict):
    return {prefix: tree}
  return {
    path: value
    for name, child in tree.items()
    for path, value in flat(child, f"{prefix}.{name}" if prefix else name).items()
  }


def _hint(name: str, known: Iterable[str]) -> str:
  near = difflib.get_close_matches(name, known, n=1)
  return f"; did you mean {near[0]}?" if near else ""
