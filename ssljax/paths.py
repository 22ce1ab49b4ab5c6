"""Parameters by their paths.

A path is a regular expression, searched in names such as "encoder/conv1/kernel";
"norm_and_bias" stands for every parameter of at most one axis.
"""

import re
from collections.abc import Iterable
from typing import Any

import jax

from ssljax.fields import ConfigError

BLOCK = r"encoder/(block\d+|layer\d+_\d+)/"
STEM = r"encoder/(patch|cls|position|stem_\w+|conv1|bn1)\b"


def name(path) -> str:
  """A key path of JAX -> "encoder/conv1/kernel"."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def matches(patterns: Iterable[str], path, leaf: jax.Array) -> bool:
  """Whether a leaf at a key path has one of the paths."""
  return any(
    leaf.ndim <= 1 if pattern == "norm_and_bias" else re.search(pattern, name(path))
    for pattern in patterns
  )


def check(field: str, patterns: Iterable[str], params: Any) -> None:
  """Raises ConfigError on a path that no leaf of `params` has; `field` holds it."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  for pattern in patterns:
    if not any(matches((pattern,), *leaf) for leaf in leaves):
      raise ConfigError(
        f"{field} holds {pattern!r}, which is in no parameter's path; "
        f"paths look like {name(leaves[0][0])!r}"
      )


def depths(params: Any) -> dict[str, int]:
  """Name -> how deep in the encoder a parameter is, counted in blocks.

  0 before the first block (patches, class token, positions, stem), 1 in it, and one
  more than the blocks behind the last (norm, heads), as MAE's fine-tuning counts.
  """
  names = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  blocks = {n: re.match(BLOCK, n) for n in names}
  order = sorted({_number(found) for found in blocks.values() if found})
  first = {n for n in names if re.match(STEM, n)}
  return {
    n: 1 + order.index(_number(found)) if found else 0 if n in first else 1 + len(order)
    for n, found in blocks.items()
  }


def _number(found: re.Match) -> tuple[int, ...]:
  return tuple(map(int, re.findall(r"\d+", found[0])))
