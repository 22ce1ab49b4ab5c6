"""What a config may say, and the sentence about what it may not say.

Every builder declares the fields of its group of a config by a `Group`, made out of the
classes and functions that take them (`declared`), and holds what it is given to it
(`check`). The same groups list a config's fields (`command_line.py`).
"""

import dataclasses
import difflib
import functools
import inspect
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from ssljax.fields import ranges

MISSING = inspect.Parameter.empty
ADDRESS = re.compile(r"\w{2,}:/{1,3}\w")  # one slash: what pathlib makes of two


class ConfigError(ValueError):
  """A config that cannot run; its message is meant for the person who wrote it."""


def as_path(value: str | os.PathLike, below: str = "") -> pathlib.Path:
  """Expands a path as a person writes it, `~` for home; ConfigError: nobody's home.

  Whatever names a file or a folder from outside comes through here. Of an address, such
  as gs://bucket/run, this is the copy on this machine of all that lies there, or of
  the one folder `below` it (`stores.py`); ConfigError for a run of several processes,
  whose copies would be several.
  """
  text = os.fspath(value)
  if re.match(r"file:/+", text):
    return pathlib.Path(re.sub(r"^file:/+", "/", text))
  if ADDRESS.match(text):
    from ssljax.fields import stores

    if not below:
      return stores.copied(text)
    return stores.copied(f"{text.rstrip('/')}/{below}").parent
  try:
    return pathlib.Path(value).expanduser()
  except RuntimeError as error:
    raise ConfigError(f"{text!r} begins with no one's home") from error


class Field(NamedTuple):
  """One field of a config as it is declared."""

  hint: Any  # its annotation, see `ranges.py`
  default: Any  # MISSING: a config must set it
  source: str  # the file that declares it


class Group(NamedTuple):
  """The fields of one group of a config."""

  path: str  # "method.projector"; "" for the whole config
  owner: str  # how a sentence calls it: "method 'moco'"
  fields: dict[str, Field]
  blank: tuple = ()  # values that stand for a field's default


def declared(*owners: Callable | type, skip: Iterable[str] = ()) -> dict[str, Field]:
  """Collects fields of dataclasses, and keyword-only parameters of functions, by name.

  A partial of a class is that class with other defaults. `skip` leaves out names
  that are not for configs.
  """
  fields = {}
  for owner in owners:
    cls = getattr(owner, "func", owner)
    preset = getattr(owner, "keywords", {})
    if dataclasses.is_dataclass(cls):
      annotated = {f.name: (f.type, _default(f)) for f in dataclasses.fields(cls)}
    else:
      annotated = {k: (p.annotation, p.default) for k, p in keywords(cls).items()}
    for name, (hint, default) in annotated.items():
      fields[name] = Field(hint, preset.get(name, default), declared_in(cls))
  return {name: field for name, field in fields.items() if name not in skip}


def defaults_of(instance: Any) -> dict[str, Field]:
  """Collects the fields of a dataclass, with an instance's values for defaults."""
  owner_fields = declared(type(instance))
  return {k: f._replace(default=getattr(instance, k)) for k, f in owner_fields.items()}


def declared_in(owner: Callable | type) -> str:
  """Names the file of a class, a function, or what a partial is of."""
  module = getattr(owner, "func", owner).__module__
  return f"{module.replace('.', '/')}.py"


def chosen(
  path: str,
  config: Mapping,
  choices: Mapping[str, Any],
  *more: Callable | type,
  key: str = "name",
  noun: str = "",
  skip: Iterable[str] = (),
) -> Group:
  """Declares a group of which one field, `key`, names what takes the others.

  `more` take fields whatever is named. `noun` is what a sentence calls the choice.
  """
  name = config.get(key)
  check_choice(f"{path}.{key}", name, choices)
  fields = declared(choices[name], *more, skip=skip)
  source = declared_in(choices[name])
  choice = Field(Annotated[str, ranges.OneOf(choices)], MISSING, source)
  return Group(path, f"{noun or path} {name!r}", {key: choice, **fields})


def with_groups(group: Group, names: Iterable[str], source: str) -> Group:
  """Adds to a group the fields that are groups themselves, declared by others."""
  parts = {name: Field(Mapping, None, source) for name in names}
  return group._replace(fields={**group.fields, **parts})


def join(path: str, name: str) -> str:
  """Joins the path of a group and the name of a field in it."""
  return f"{path}.{name}" if path else name


def at(config: Mapping, path: str) -> Any:
  """Returns the group at a path such as "evals.knn"; ConfigError: there is none."""
  for name in path.split(".") if path else ():
    if name not in config:
      raise ConfigError(f"the config has no field {path}; every recipe needs it")
    config = config[name]
    if not hasattr(config, "keys"):
      raise ConfigError(f"{path}={config!r} must be a group of fields")
  return config


def check(group: Group, values: Mapping) -> None:
  """Raises ConfigError unless `values` are a group's: its names, types and ranges."""
  needed = [name for name, field in group.fields.items() if field.default is MISSING]
  values = given(group, values)
  check_names(group.owner, values, group.fields, needed)
  for name, value in values.items():
    path = join(group.path, name)
    check_value(path, value, group.fields[name].hint, flag="--config.")


def given(group: Group, values: Mapping) -> dict[str, Any]:
  """Returns the values that a config sets, without those that stand for a default."""
  return {k: v for k, v in values.items() if v not in group.blank}


def check_instance(path: str, instance: Any) -> None:
  """Raises ConfigError unless a dataclass's fields are as they are declared."""
  for name, field in declared(type(instance)).items():
    check_value(f"{path}.{name}", getattr(instance, name), field.hint)


def checked(path: str) -> Callable:
  """Decorates a function: keyword-only arguments against annotations, ConfigError.

  For whoever calls it from Python; `path` is what a sentence puts before their names.
  """

  def decorate(function):
    declarations = declared(function)

    @functools.wraps(function)
    def call(*args, **values):
      for name in values.keys() & declarations.keys():
        check_value(f"{path}.{name}", values[name], declarations[name].hint)
      return function(*args, **values)

    return call

  return decorate


def check_value(path: str, value: Any, hint: Any, flag: str = "") -> None:
  """Raises ConfigError unless the value of the field at `path` fits its annotation.

  `flag`, what stands before a path where it is set, ends the sentence with that.
  """
  problem = ranges.problem(path, value, hint)
  if problem is not None:
    near = _hint(str(problem.value), problem.names)
    field, *_ = problem.path.split("[")  # a tuple is set as a whole
    where = f"; it is set by {flag}{field}" if flag else ""
    raise ConfigError(
      f"{problem.path}={problem.value!r} must be {problem.allowed}{near}{where}"
    )


def check_choice(field: str, value: Any, known: Iterable[str]) -> None:
  """Raises ConfigError unless `value` is one of `known`."""
  if value not in known:
    hint = _hint(str(value), known)
    raise ConfigError(f"{field}={value!r} must be one of {', '.join(known)}{hint}")


def check_names(
  owner: str, given: Mapping, known: Iterable[str], needed: Iterable[str] = ()
) -> None:
  """Raises ConfigError on a field not `known`, and on a `needed` one not `given`."""
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


def keywords(function: Callable) -> dict[str, inspect.Parameter]:
  """Returns the keyword-only parameters of a function or dataclass, by name."""
  parameters = inspect.signature(function).parameters
  return {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
  """Flattens a tree of dicts: {"data.name": "cifar10", ...}."""
  if not isinstance(tree, dict):
    return {prefix: tree}
  return {
    path: value
    for name, child in tree.items()
    for path, value in flat(child, f"{prefix}.{name}" if prefix else name).items()
  }


def _default(field: dataclasses.Field) -> Any:
  if field.default_factory is not dataclasses.MISSING:
    return field.default_factory()
  return MISSING if field.default is dataclasses.MISSING else field.default


def _hint(name: str, names: Iterable[str]) -> str:
  near = difflib.get_close_matches(name, names, n=1)
  return f"; did you mean {near[0]}?" if near else ""
