"""Where a run starts from another run's weights: fine-tuning, distillation."""

from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import encoder, paths
from ssljax.core import TrainState
from ssljax.fields import ConfigError, check_choice

INTO = ("params", "teacher")


def start(config: ConfigDict, state: TrainState, mesh: Mesh) -> TrainState:
  """The state at step 0 with the weights that the group `pretrained` names.

  `checkpoint` is a run's folder; "" leaves the state as it is. `into="params"` takes
  the parameters and running statistics whose path is one of `take` (see `paths.py`)
  from that run's to this run's network; "teacher" takes all of them, to
  `target["teacher"]`. Raises ConfigError where the two do not fit.
  """
  group = config.pretrained
  if not group.checkpoint:
    return state
  check_choice("pretrained.into", group.into, INTO)
  other = encoder.restore(group.checkpoint, mesh).state
  given = {"params": other.params, "batch_stats": other.batch_stats}
  if group.into == "params":
    own = {"params": state.params, "batch_stats": state.batch_stats}
    paths.check("pretrained.take", group.take, own["params"])
    taken = _replace(own, given, group)
    return state.replace(**taken)
  if "teacher" not in state.target:
    raise ConfigError(
      f"pretrained.into='teacher', but method {config.method.name!r} has none; use "
      "'params'"
    )
  teacher = _replace(
    state.target["teacher"], given, group.copy_and_resolve_references()
  )
  return state.replace(target={**state.target, "teacher": teacher})


def _replace(own: Any, given: Any, group: ConfigDict) -> Any:
  """`own` with the leaves of `given` at the paths taken."""
  found = {paths.name(p): x for p, x in jax.tree_util.tree_leaves_with_path(given)}
  everything = group.into == "teacher"

  def one(path, leaf):
    inside = path[1:]  # below "params" or "batch_stats"
    if not everything and not paths.matches(group.take, inside, leaf):
      return leaf
    name = paths.name(path)
    theirs = found.get(name)
    if theirs is None or theirs.shape != leaf.shape:
      there = "absent" if theirs is None else list(theirs.shape)
      raise ConfigError(
        f"pretrained.checkpoint={group.checkpoint!r}: {name} is {there} there and "
        f"{list(leaf.shape)} here; give this run's network that run's fields, or take "
        "other paths"
      )
    return theirs

  return jax.tree_util.tree_map_with_path(one, own)
