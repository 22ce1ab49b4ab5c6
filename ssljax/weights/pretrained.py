"""Where a run starts from another run's weights: fine-tuning, distillation."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import encoder, nets, paths
from ssljax.core import TrainState
from ssljax.fields import ConfigError, as_path, check_choice

UNSEEN = (  # fields of an encoder that no shape shows
  *("heads", "activation", "epsilon", "position", "rope_base"),  # of transformers
  *("padding", "stem_relu", "blurred", "norm"),  # of ResNets
)
TOKENIZER = "tokenizer.json"  # in the folder of a run that reads texts
INTO = {"params": "", "teacher": "teacher", "base": "base"}  # -> entry of `target`


def moves(config: ConfigDict) -> bool:
  """Whether a run begins with another's weights in the network that it trains."""
  return bool(config.pretrained.checkpoint) and config.pretrained.into == "params"


def start(
  config: ConfigDict, state: TrainState, mesh: Mesh, identity: str = ""
) -> TrainState:
  """Loads the weights that the group `pretrained` names into the state at step 0.

  `checkpoint` is a run's folder, `step` that of its checkpoint (0: the newest); without
  a folder the state stays as it is. `into="params"` takes what has one of the paths
  `take` (see `paths.py`), parameters and running statistics, from that run's network,
  the one by which it is judged, to this run's, and to the slow copies of it that
  `target` may hold: they would drag it back to where it began. "teacher" and "base"
  take all, to what `target` has under that name.
  Raises ConfigError where the two do not fit, or where the checkpoint of `identity`, ""
  for any, is no longer there.
  """
  group = config.pretrained
  if not group.checkpoint:
    return state
  check_choice("pretrained.into", group.into, INTO)
  entry = INTO[group.into]
  if entry and entry not in state.target:
    raise ConfigError(
      f"pretrained.into={entry!r}, but method {config.method.name!r} has none; use "
      "'params'"
    )
  split = config.get("split_state", 0)
  step = int(identity.partition(" ")[0]) if identity else group.step
  source = encoder.restore(group.checkpoint, mesh, step, split)
  if identity and source.identity != identity:
    raise ConfigError(
      f"pretrained.checkpoint={group.checkpoint!r}: step {step} there is not the one "
      "that this run began with; put back a copy of it"
    )
  if entry:
    source_weights = {
      k: getattr(source.state, k) for k in ("params", "batch_stats", "target")
    }
    copied = _take((".*",), source_weights, state.target[entry])
    return state.replace(target={**state.target, entry: copied})
  paths.check("pretrained.take", group.take, state.params)
  _check_alike(source.config.encoder, config.encoder)
  _check_texts(config, state.params)
  source_weights = {k: getattr(source.judged, k) for k in ("params", "batch_stats")}
  own_weights = {"params": state.params, "batch_stats": state.batch_stats}
  taken = functools.partial(_take, group.take, source_weights)
  slow_copy = {name: state.target[name] for name in own_weights if name in state.target}
  others = {k: v for k, v in state.target.items() if k not in INTO}
  copies = {  # of this network as it was at some time: DINOv3's Gram teacher
    name: taken(entry)
    for name, entry in others.items()
    if isinstance(entry, Mapping) and entry.keys() == own_weights.keys()
  }
  target = {**state.target, **copies, **taken(slow_copy)}
  return state.replace(**taken(own_weights), target=target)


def _check_alike(source: ConfigDict, own: ConfigDict) -> None:
  """Raises ConfigError where weights would fit, and mean something else here."""
  networks = [nets.build(fields) for fields in (source, own)]
  for field in UNSEEN:
    there, here = (getattr(network, field, None) for network in networks)
    if there is not None and here is not None and there != here:
      raise ConfigError(
        f"pretrained.checkpoint: encoder.{field} is {there!r} there and {here!r} here; "
        f"set encoder.{field}={there}"
      )


def _check_texts(config: ConfigDict, params: Any) -> None:
  """Raises ConfigError where a tower of texts would read them by other ids."""
  group = config.pretrained
  texts = {name: x for name, x in params.items() if name == "text"}
  leaves = jax.tree_util.tree_leaves_with_path(texts)
  if not any(paths.matches(group.take, *leaf) for leaf in leaves):
    return
  own = config.get("data", {}).get("tokenizer")
  if not own and (as_path(group.checkpoint) / TOKENIZER).is_file():
    raise ConfigError(
      "pretrained.checkpoint: its texts are read by its own tokenizer; set "
      f"data.tokenizer={group.checkpoint!r}, or take its encoder: "
      "pretrained.take=('^encoder/',)"
    )


def _take(patterns: Iterable[str], source: Any, target: Any) -> Any:
  """Copies leaves of `source` at paths that match `patterns` over those of `target`."""
  source_leaves = {
    paths.name(p): x for p, x in jax.tree_util.tree_leaves_with_path(source)
  }

  def one(path, leaf):
    if not paths.matches(patterns, path[1:], leaf):  # below "params" or "batch_stats"
      return leaf
    name = paths.name(path)
    source_leaf = source_leaves.get(name)
    if source_leaf is None or source_leaf.shape != leaf.shape:
      source_shape = "absent" if source_leaf is None else list(source_leaf.shape)
      raise ConfigError(
        f"pretrained.checkpoint: {name} is {source_shape} there and "
        f"{list(leaf.shape)} here; give this run's network that run's fields, or "
        "take other paths"
      )
    return jnp.copy(source_leaf)  # params and slow copy: the step is given both buffers

  return jax.tree_util.tree_map_with_path(one, target)
