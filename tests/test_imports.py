"""Which room may know which, read off the syntax tree; and files that stay short."""

import ast
import functools
import pathlib
import sys

import pytest

from ssljax import methods

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "ssljax").rglob("*.py"))

# What of ssljax a room imports at most, besides `fields`. Rooms that are not listed put
# others together: recipe, train, protocols.
KNOWS = {
  "losses": {"losses"},
  "nets": {"nets"},
  "memory": set(),
  "methods": {"methods", "core", "losses", "memory", "nets", "schedules"},
  "core": {"core", "diagnostics", "nets"},
  "diagnostics": {"losses", "paths"},
  "augment": {"augment", "core"},
  "data": {"data"},
  "evals": {"evals", "augment", "sharding"},
  "optim": {"optim", "paths", "schedules"},
  "schedules": set(),
  "paths": set(),
  "fields": set(),
  "sharding": set(),
  "parts": {"core"},
  "runs": {"runs", "checkpoint", "schedules", "sharding"},
  "checkpoint": {"runs", "sharding"},
  "provenance": {"data", "sharding"},
  "figures": {"figures"},
  "html": {"html", "diagnostics", "figures", "runs"},
  "judge": {
    *("judge", "augment", "core", "data", "diagnostics", "evals", "figures", "html"),
    *("nets", "parts", "paths", "provenance", "runs", "schedules", "sharding"),
  },
  "encoder": {
    *("checkpoint", "core", "data", "parts", "provenance", "recipe", "schedules"),
    "sharding",
  },
  # The table of a family ends in an encoder of `nets`, whose shapes it is held to.
  "weights": {"weights", "core", "encoder", "nets", "paths"},
}
HALL = 12  # files that stand in no room
FRAMEWORKS = {"jax", "flax", "optax", "orbax", "torch", "tensorflow"}
USES = {  # of FRAMEWORKS
  "losses": {"jax"},
  "nets": {"jax", "flax"},
  "methods": {"jax", "optax"},
  "data": set(),
  "evals": {"jax", "optax"},
}
AXIS_NAMES = {
  *("AXIS", "PartitionSpec", "shard_map", "with_sharding_constraint", "pmap"),
  *("axis_name", "axis_index", "axis_names", "spmd_axis_name"),
  *("psum", "pmean", "pmax", "pmin", "ppermute", "all_gather", "all_to_all"),
  "psum_scatter",
}


def room(path):
  """The folder's or the file's name: "losses", "core"; "" for ssljax/__init__.py."""
  parts = path.relative_to(ROOT / "ssljax").with_suffix("").parts
  return "" if parts[0] == "__init__" else parts[0]


def where(path):
  return str(path.relative_to(ROOT))


@functools.cache
def nodes(path):
  return list(ast.walk(ast.parse(path.read_text())))


def imported(path):
  """Dotted names of all that a file imports, wherever in the file it does."""
  names = set()
  for node in nodes(path):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{where(path)} has a relative import"
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return names


def words(path):
  """Names, attributes, keywords, imports and whole strings of a file."""
  found = {part for name in imported(path) for part in name.split(".")}
  for node in nodes(path):
    for field in ("id", "attr", "arg", "name"):
      found.add(getattr(node, field, None))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      found.add(node.value)
  return found


def owns(path):
  """The rooms of ssljax that a file imports."""
  return {n.split(".")[1] for n in imported(path) if n.startswith("ssljax.")}


def test_the_hall_stays_small():
  assert len(list((ROOT / "ssljax").glob("*.py"))) <= HALL


def test_every_room_named_here_exists():
  assert KNOWS.keys() | USES.keys() <= {room(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=where)
def test_a_file_imports_only_the_rooms_it_may_know(path):
  assert owns(path) - {"fields"} <= KNOWS.get(room(path), owns(path))
  frameworks = {name.split(".")[0] for name in imported(path)} & FRAMEWORKS
  assert frameworks <= USES.get(room(path), FRAMEWORKS)


def test_losses_need_nothing_but_jax():
  """So that whoever wants one loss copies a file or three."""
  known = {"jax", "ssljax", *sys.stdlib_module_names}
  for path in (ROOT / "ssljax" / "losses").glob("*.py"):
    assert {name.split(".")[0] for name in imported(path)} <= known


def test_only_the_recipe_imports_methods():
  assert {room(p) for p in FILES if "methods" in owns(p)} == {"methods", "recipe"}


def test_no_method_s_name_stands_outside_methods():
  """Save for losses, views and released weights, called as the paper they are of."""
  named = {*methods.METHODS, *(cls.__name__ for cls in methods.METHODS.values())}
  named -= {"clip"}  # NumPy's
  for path in FILES:
    if room(path) not in ("methods", "losses", "augment", "views", "weights"):
      assert not words(path) & named, where(path)


def test_only_sharding_names_a_mesh_axis():
  for path in FILES:
    if room(path) != "sharding":
      assert not words(path) & AXIS_NAMES, where(path)


@pytest.mark.parametrize(
  ("folder", "most"), [("ssljax", 300), ("configs", 300), ("tests", 400)]
)
def test_files_stay_short(folder, most):
  for path in (ROOT / folder).rglob("*.py"):
    assert len(path.read_text().splitlines()) <= most, where(path)
