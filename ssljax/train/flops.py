"""The arithmetic of a program, counted on its jaxpr: no device, no compiler."""

import collections
import math
from typing import Any

Counts = dict[str, int]  # the type of the numbers multiplied -> operations


def count(jaxpr: Any) -> Counts:
  """Counts operations of a traced program's products -> {"bfloat16": n, ...}.

  A multiplication and an addition are two; what is no matrix product, convolution or
  attention is left out, as in the figures of papers. A product of two types counts as
  the wider. A convolution's taps count on its padding too, but not between the rows
  that a stride's gradient spreads: forward pass and both gradients then cost alike.
  Loops count as often as they turn, `while` once (a dispatch is one step), of a choice
  its most costly branch, and what a gradient computes again counts again.
  `jax.jit(step).trace(state, batch).jaxpr` is such a jaxpr.
  """
  counts = collections.Counter()
  for eqn, operations in products(jaxpr):
    counts[max((v.aval.dtype for v in eqn.invars[:2]), key=_width).name] += operations
  return dict(counts)


def products(jaxpr: Any) -> list[tuple[Any, int]]:
  """Lists a traced program's products, wherever they stand -> equation, operations."""
  found = []
  for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
    name = eqn.primitive.name
    if name in PRODUCTS:
      found.append((eqn, PRODUCTS[name](eqn)))
      continue
    inner = [products(j) for j in inside(eqn)]
    if name == "cond":
      inner = [max(inner, key=lambda branch: sum(n for _, n in branch))]
    turns = eqn.params["length"] if name == "scan" else 1
    found += [(eqn, turns * n) for part in inner for eqn, n in part]
  return found


def total(counts: Counts) -> int:
  """Sums operations over all types."""
  return sum(counts.values())


def inside(eqn: Any) -> list:
  """Lists the jaxprs that an equation runs, each once: of a custom gradient the value.

  Once gradients are taken, those stand in the program themselves.
  """
  found = []
  for value in eqn.params.values():
    for part in value if isinstance(value, tuple | list) else (value,):
      if hasattr(getattr(part, "jaxpr", part), "eqns"):
        found.append(part)
  return found


def _width(dtype: Any) -> int:
  return dtype.itemsize


def _dot(eqn: Any) -> int:
  (contracted, _), _ = eqn.params["dimension_numbers"]
  shape = eqn.invars[0].aval.shape
  return 2 * eqn.outvars[0].aval.size * math.prod(shape[i] for i in contracted)


def _conv(eqn: Any) -> int:
  kernel = eqn.invars[1].aval.shape
  features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
  holes = math.prod(eqn.params["lhs_dilation"])
  return 2 * eqn.outvars[0].aval.size * math.prod(kernel) // (features * holes)


def _attention(products: int):
  """Counts cuDNN's attention of queries [B,N,h,d] to keys [B,M,h,d]."""

  def operations(eqn):
    query, key = (v.aval.shape for v in eqn.invars[:2])
    return 2 * products * math.prod(query) * key[1]

  return operations


PRODUCTS = {
  "dot_general": _dot,
  "conv_general_dilated": _conv,
  "dot_product_attention_fwd_wrapper": _attention(2),
  "dot_product_attention_bwd_wrapper": _attention(5),  # scores once more
}
