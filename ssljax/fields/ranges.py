"""What a value may be: the types and ranges by which fields are declared.

A field of a config is a field of a dataclass, or a keyword of a function, and its
annotation says all that may stand there: `temperature: Positive`, `layers: Count`,
`stem: Annotated[str, OneOf(STEMS)]`. `fields.py` holds configs to it.
"""

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Union


class Problem(NamedTuple):
  """A value that a config cannot hold, and what it can."""

  path: str
  value: Any
  allowed: str
  names: tuple[str, ...] = ()  # that exist, where it is none of them


@dataclasses.dataclass(frozen=True)
class Range:
  """Numbers from `low` to `high`, both allowed unless they are `above` and `below`."""

  low: float = -math.inf
  high: float = math.inf
  above: float = -math.inf
  below: float = math.inf
  and_zero: bool = False  # 0 too, which switches off what other numbers measure

  def problem(self, path: str, value: Any) -> Problem | None:
    """Finds the first number of `value`, one or a tuple, that does not fit."""
    for name, number in _leaves(path, value):
      fits = self.low <= number <= self.high and self.above < number < self.below
      if not fits and not (self.and_zero and number == 0):
        return Problem(name, number, str(self))
    return None

  def outside(self) -> list[float]:
    """Lists numbers that do not fit, close by and far off."""
    far = [-1e9, -1, 0, 2, 1e9]
    near = [self.low - 1, self.high + 1, self.above, self.below]
    return [
      x for x in (*near, *far) if math.isfinite(x) and self.problem("", x) is not None
    ]

  def __str__(self) -> str:
    """Describes the range in words: "more than 0 and at most 1"."""
    parts = [
      f"{word} {bound:.10g}"
      for word, bound in (
        ("at least", self.low),
        ("more than", self.above),
        ("at most", self.high),
        ("less than", self.below),
      )
      if math.isfinite(bound)
    ]
    return f"{'0 or ' if self.and_zero else ''}{' and '.join(parts)}"


@dataclasses.dataclass(frozen=True, eq=False)  # mappings have no hash
class OneOf:
  """One of the names that exist; a mapping's keys, so that what is added counts."""

  names: Iterable[str]

  def problem(self, path: str, value: Any) -> Problem | None:
    """Finds the first name of `value`, one or a tuple, that does not exist."""
    for name, word in _leaves(path, value):
      if word not in self.names:
        return Problem(name, word, str(self), tuple(self.names))
    return None

  def outside(self) -> list[str]:
    """Lists a name that does not exist."""
    return ["no_such_name"]

  def __str__(self) -> str:
    return f"one of {', '.join(name or repr(name) for name in self.names)}"


Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]  # probabilities, momenta, ratios
Count = Annotated[int, Range(1)]
Number = Annotated[int, Range(0)]  # a count of which 0 means none, or all
Seed = Annotated[int, Range(0, 2**32 - 1)]  # JAX's keys are of 32 bits

NOUNS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
PLURALS = {bool: "truths", int: "whole numbers", float: "numbers", str: "texts"}


def problem(path: str, value: Any, hint: Any) -> Problem | None:
  """Finds the first part of `value` that is not as the annotation `hint` says."""
  plain, rules = _split(hint)
  if not _is_a(value, plain):
    return Problem(path, value, describe(hint))
  if branches := _branches(plain):
    problems = [problem(path, value, branch) for branch in branches]
    fitting = [p for b, p in zip(branches, problems, strict=True) if _is_a(value, b)]
    return None if None in problems else fitting[0]
  for name, item, inner in _items(path, value, plain):
    if (first_problem := problem(name, item, inner)) is not None:
      return first_problem
  for rule in rules:
    if (first_problem := rule.problem(path, value)) is not None:
      return first_problem
  return None


def describe(hint: Any) -> str:
  """Describes an annotation: "a number more than 0", "whole numbers at least 1"."""
  plain, rules = _split(hint)
  words = [str(rule) for rule in rules]
  if branches := _branches(plain):
    return " or ".join(dict.fromkeys([*map(describe, branches), *words]))
  if any(isinstance(rule, OneOf) for rule in rules) and plain is str:
    return words[0]
  origin, inner = typing.get_origin(plain), typing.get_args(plain)
  if plain in NOUNS:
    noun = NOUNS[plain]
  elif plain in (None, types.NoneType):
    noun = "None"
  elif origin in (tuple, list, Sequence) and (len(inner) == 1 or inner[1:] == (...,)):
    base, inner_rules = _split(inner[0])
    words = [*map(str, inner_rules), *words]
    named = any(isinstance(rule, OneOf) for rule in inner_rules)
    each = f"each {describe(base)}"
    noun = (
      f"a tuple, each {words.pop(0)}"
      if named
      else f"a tuple of {PLURALS.get(base, each)}"
    )
  elif origin is tuple:
    noun = f"a tuple of {len(inner)}: {', '.join(map(describe, inner))}"
  elif origin in (dict, Mapping) or plain in (dict, Mapping):
    noun = "a dict"
    if len(inner) == 2 and inner[1] is not Any:
      noun += f" whose values are each {describe(inner[1])}"
  else:
    noun = "anything" if not words else ""
  return " ".join([noun, *words]).strip()


def _split(hint: Any) -> tuple[Any, tuple]:
  """Splits an annotation Annotated[T, rules...] into T and its rules."""
  if typing.get_origin(hint) is Annotated:
    plain, *rules = typing.get_args(hint)
    return plain, tuple(r for r in rules if hasattr(r, "problem"))
  return hint, ()


def _branches(hint: Any) -> tuple:
  """Lists the types of a union; () of any other type."""
  is_union = typing.get_origin(hint) in (Union, types.UnionType)
  return typing.get_args(hint) if is_union else ()


def _is_a(value: Any, hint: Any) -> bool:
  """Whether a value is of a type, its items and its range aside."""
  plain, _ = _split(hint)
  if branches := _branches(plain):
    return any(_is_a(value, branch) for branch in branches)
  if plain in (None, types.NoneType):
    return value is None
  if plain is bool:
    return isinstance(value, bool)
  if plain in (int, float):
    kind = numbers.Integral if plain is int else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    return is_number and (isinstance(value, int) or math.isfinite(value))
  if plain is str:
    return isinstance(value, str)
  origin = typing.get_origin(plain) or plain
  if origin in (tuple, list, Sequence):
    inner = typing.get_args(plain)
    fixed = len(inner) if origin is tuple and inner and inner[-1] is not ... else None
    is_list = isinstance(value, (tuple, list))
    return is_list and fixed in (None, len(value))
  if origin in (dict, Mapping):
    return hasattr(value, "keys")
  return True  # a network or a function is no value of a config


def _items(path: str, value: Any, hint: Any) -> list[tuple[str, Any, Any]]:
  """Yields the parts of a tuple or a dict, each with its path and annotation."""
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  if origin in (tuple, list, Sequence) and inner:
    hints = inner if inner[1:] != (...,) and origin is tuple else inner[:1] * len(value)
    named = zip(value, hints, strict=True)
    return [(f"{path}[{i}]", item, hint) for i, (item, hint) in enumerate(named)]
  if origin in (dict, Mapping) and len(inner) == 2:
    return [(f"{path}[{name!r}]", item, inner[1]) for name, item in value.items()]
  return []


def _leaves(path: str, value: Any) -> list[tuple[str, Any]]:
  if isinstance(value, (tuple, list)):
    named = ((f"{path}[{i}]", item) for i, item in enumerate(value))
    return [leaf for name, item in named for leaf in _leaves(name, item)]
  return [(path, value)]
