"""Networks: encoders and heads, built from config groups."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ssljax.nets.heads import MLP, Network, Prototypes
from ssljax.nets.resnet import ResNet18, ResNet34, ResNet50, ResNet101, ResNet152
from ssljax.nets.vit import ViT_B, ViT_L, ViT_S, ViT_Ti

ENCODERS = {
  "resnet18": ResNet18,
  "resnet34": ResNet34,
  "resnet50": ResNet50,
  "resnet101": ResNet101,
  "resnet152": ResNet152,
  "vit_ti": ViT_Ti,
  "vit_s": ViT_S,
  "vit_b": ViT_B,
  "vit_l": ViT_L,
}
HEADS = {"mlp": MLP, "prototypes": Prototypes}

__all__ = ["ENCODERS", "HEADS", "Network", "build", "build_head"]


def build(config: Mapping[str, Any], dtype: Any = jnp.float32) -> nn.Module:
  """`{"name": one of ENCODERS, field: value, ...}` -> encoder computing in `dtype`.

  ValueError names an unknown encoder or field, and what exists.
  """
  return _build("encoder", ENCODERS, config, dtype)


def build_head(config: Mapping[str, Any], dtype: Any = jnp.float32) -> nn.Module:
  """Like `build`, for the HEADS a `Network` takes besides its encoder."""
  return _build("head", HEADS, config, dtype)


def _build(
  kind: str, table: Mapping[str, Callable], config: Mapping[str, Any], dtype: Any
) -> nn.Module:
  fields = dict(config)
  name = fields.pop("name", None)
  if name not in table:
    raise ValueError(f"{kind} name={name!r} must be one of {', '.join(table)}")
  make = table[name]
  module = getattr(make, "func", make)  # a variant is a partial of its module
  fixed = ("parent", "name", "dtype")
  allowed = [f.name for f in dataclasses.fields(module) if f.name not in fixed]
  for field in fields:
    if field not in allowed:
      near = difflib.get_close_matches(field, allowed, n=1)
      hint = f"did you mean {near[0]}? " if near else ""
      raise ValueError(
        f"{kind} {name} has no field {field}={fields[field]!r}; {hint}"
        f"It has: {', '.join(allowed)}"
      )
  return make(**fields, dtype=dtype)
