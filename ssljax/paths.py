"""Parameters by their paths.

A path is a regular expression, searched in names such as "encoder/conv1/kernel";
"norm_and_bias" stands for every parameter of at most one axis.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from ssljax.fields import ConfigError

PART = r"(?:^|/)encoder/([^/]+)"


def name(path) -> str:
  """Writes a key path of JAX as "encoder/conv1/kernel"."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def matches(patterns: Iterable[str], path, leaf: jax.Array) -> bool:
  """Whether a leaf at a key path has one of the paths `patterns`."""
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


def depths(params: Any, layers: Sequence[Sequence[str]]) -> dict[str, int]:
  """Counts how deep in the encoder each parameter is, 0 for the first of its `layers`.

  `layers` are the encoder's (`nets.module.Encoder`). What is in none of them, the last
  norm and the heads, is one deeper than all, as MAE's fine-tuning counts.
  """
  depth_of = {part: depth for depth, parts in enumerate(layers) for part in parts}
  names = [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  parts = {n: re.search(PART, n) for n in names}
  last = len(layers)
  return {n: depth_of.get(part[1], last) if part else last for n, part in parts.items()}
