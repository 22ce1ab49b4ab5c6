"""A batch encoded in parts, for exact gradients in less memory.

Of a part nothing is kept but its rows: `jax.checkpoint` encodes it once more for the
gradient, without what carries none, such as a teacher (GradCache, Gao et al. 2021).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.nets.norm import BatchNorm


def encode(encoder: Callable[[Any], tuple], batch: Any, part: int) -> tuple:
  """Encodes a batch, `part` examples at a time -> rows [B,...], trees of statistics.

  Rows [B,...] come in the batch's order; statistics are the means over the parts. A
  part is dealt hands of neighbours from all over the batch (see `size_of_hands`), so
  that each device has a share in it and BatchNorm groups stay whole.
  """
  parts = jax.tree.leaves(batch)[0].shape[0] // part
  hand = size_of_hands(encoder, batch, part)
  recomputed = jax.checkpoint(encoder, prevent_cse=False)  # the loop prevents it
  rows, *stats = jax.lax.map(recomputed, deal(batch, parts, hand))
  return gather(rows, hand), *jax.tree.map(lambda x: x.mean(0), stats)


def deal(tree: Any, parts: int, hand: int) -> Any:
  """Splits leaves [B,...] into [parts,B/parts,...], dealt by hands of `hand` rows."""

  def one(x):
    x = x.reshape(-1, parts, hand, *x.shape[1:])
    return jnp.moveaxis(x, 1, 0).reshape(parts, -1, *x.shape[3:])

  return jax.tree.map(one, tree)


def gather(tree: Any, hand: int) -> Any:
  """Merges leaves [parts,B/parts,...] into [B,...], the inverse of `deal`."""

  def one(x):
    parts = x.shape[0]
    x = x.reshape(parts, -1, hand, *x.shape[2:])
    return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[3:])

  return jax.tree.map(one, tree)


def size_of_hands(encoder: Callable[[Any], tuple], batch: Any, part: int) -> int:
  """Counts the neighbours that a part holds together to keep BatchNorm groups whole.

  ConfigError where groups are the whole batch, or do not fit into `part` examples.
  """
  groups = _groups(encoder, jax.tree.map(lambda x: _first(x, part), batch))
  for group in groups:
    if not group.rows:
      raise ConfigError(
        f"microbatch={part} needs BatchNorm in groups, and {group.path} takes the "
        f"statistics of the whole batch; set {group.field} to a divisor of {part}"
      )
  strided = {part // group.rows for group in groups if group.strided}
  neighbours = [group.examples for group in groups if not group.strided]
  hand = strided.pop() if len(strided) == 1 else math.lcm(*neighbours)
  if strided or not hand or part % hand or any(hand % n for n in neighbours):
    sizes = sorted({group.rows for group in groups})
    raise ConfigError(
      f"microbatch={part} does not hold BatchNorm groups of {sizes} whole; set it to a "
      "multiple of them or, where keys have strided groups, of their square"
    )
  return hand


def _first(x: jax.Array, count: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype)


class Group(NamedTuple):
  """A BatchNorm as it was called: its path, and the rows it normalises together."""

  path: str
  rows: int  # 0: all
  examples: int  # the neighbours whose views fill whole groups
  strided: bool

  @property
  def field(self) -> str:
    """Names the config field that sets the size of this BatchNorm's groups."""
    place = self.path.split("/")[0]
    head = place != "encoder" and not place.startswith("view")
    return f"method.{place}.bn_group_size" if head else "encoder.bn_group_size"


def _groups(encoder: Callable[[Any], tuple], batch: Any) -> list[Group]:
  groups, examples = [], jax.tree.leaves(batch)[0].shape[0]

  def look(call, args, kwargs, context):
    norm = context.module
    if isinstance(norm, BatchNorm) and context.method_name == "__call__":
      x, train = (*args, *kwargs.values())[:2]
      views = max(1, x.shape[0] // examples)
      together = norm.group_size // math.gcd(norm.group_size, views)
      path = "/".join(norm.path)
      if train:
        groups.append(Group(path, norm.group_size, together or 1, norm.strided))
        return x.astype(
          norm.dtype
        )  # groups that do not fit are told by `size_of_hands`
    return call(*args, **kwargs)

  with nn.intercept_methods(look):
    jax.eval_shape(encoder, batch)
  return groups
