"""Parameters by their paths.

A path is a regular expression, searched in names such as "encoder/conv1/kernel";
"norm_and_bias" stands for every parameter of at most one axis.
"""

import re
from collections.abc import Iterable
from typing import Any

import jax


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
  """Raises ValueError on a path that no leaf of `params` has; `field` holds it."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  for pattern in patterns:
    if not any(matches((pattern,), *leaf) for leaf in leaves):
      raise ValueError(
        f"{field} holds {pattern!r}, which is in no parameter's path; "
        f"paths look like {name(leaves[0][0])!r}"
      )
