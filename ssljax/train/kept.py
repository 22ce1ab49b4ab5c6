"""What a gradient keeps of its forward pass, read off the traced program."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr

ALIASES = ("reshape", "squeeze", "expand_dims", "copy")  # the same numbers


def trace(
  f: Callable, params: Any, *args: Any, has_aux: bool = False
) -> tuple[ClosedJaxpr, list[jax.ShapeDtypeStruct]]:
  """Traces f32[] = f(params, *args) and its gradient -> jaxpr of both, arrays kept.

  Kept are arrays that the forward pass computes from `args` and the gradient reads,
  each once. Parameters, casts of them and `args` themselves are there anyway. XLA may
  keep fewer, where it computes something cheap again.
  """

  def both(params, *args):
    _, gradient, *_ = jax.vjp(lambda p: f(p, *args), params, has_aux=has_aux)
    return jax.tree.leaves(gradient), gradient(1.0)

  closed, (leaves, _) = jax.make_jaxpr(both, return_shape=True)(params, *args)
  jaxpr, number = closed.jaxpr, len(jax.tree.leaves(params))
  given, origin = set(jaxpr.invars[number:]), {}
  for eqn in jaxpr.eqns:
    sources = [v for v in eqn.invars if not hasattr(v, "val")]
    if any(origin.get(v, v) in given for v in sources):
      given |= set(eqn.outvars)
    if eqn.primitive.name in ALIASES:
      origin[eqn.outvars[0]] = origin.get(sources[0], sources[0])
  inputs, kept = set(jaxpr.invars), {}
  for v in jaxpr.outvars[: len(leaves)]:
    if not hasattr(v, "val") and v in given and origin.get(v, v) not in inputs:
      kept[origin.get(v, v)] = jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype)
  return closed, list(kept.values())


def size(arrays: list[jax.ShapeDtypeStruct]) -> int:
  """Sums the bytes of arrays."""
  return sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays)
