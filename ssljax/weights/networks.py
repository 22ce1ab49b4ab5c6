"""Networks of an encoder and heads on it, and the arrays they have, by path."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from ssljax import nets
from ssljax.weights import infer
from ssljax.weights.tables import ENCODER

RUNNING = ("mean", "var")  # the leaves that are no parameters
CLASSIFIER = "classifier"


class Sizes(NamedTuple):
  """What a network's arrays tell of its inputs and classes."""

  channels: int  # of pictures
  context: int  # tokens of a text; 0: it reads none
  classes: int  # 0: it tells none apart


def shapes(
  fields: Mapping[str, Any],
  method: Mapping[str, Any],
  channels: int = 3,
  context: int = 0,
  classes: int = 0,
) -> dict[str, tuple[int, ...]]:
  """Traces the shapes of a network's arrays, by path below their collection.

  `fields` and `method` are the groups `encoder` and `method` of its config, `channels`
  those of pictures, `context` the tokens of texts and `classes` those of a classifier,
  where it has such.
  """
  net = network(fields, method, classes)
  side = fields.get("image_size", 4 * fields.get("patch_size", 8))
  x = {"image": jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)}
  if "text" in method:
    x["text"] = jax.ShapeDtypeStruct((1, context or 1), jnp.int32)
  variables = jax.eval_shape(
    lambda key, x: net.init(key, x, train=False), jax.random.key(0), x
  )
  return {name: x.shape for name, x in flatten(variables).items()}


def network(
  fields: Mapping[str, Any], method: Mapping[str, Any], classes: int = 0
) -> nn.Module:
  """Builds an encoder and the heads on it, of the groups `encoder` and `method`."""
  facts = {CLASSIFIER: {"num_classes": classes}}
  heads = {
    role: nets.build_head(role, of_head, **facts.get(role, {}))
    for role, of_head in method.items()
    if role in nets.HEADS
  }
  build = nets.TwoTowers if "text" in heads else nets.Network
  return build(nets.build(fields), **heads)


def sizes(shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
  """Reads off the shapes of a network's arrays what they tell besides its fields."""
  kernels = (shapes.get(f"{ENCODER}{name}/kernel") for name in infer.FIRST)
  channels = next(shape[2] for shape in kernels if shape)
  context = shapes.get("text/position", (0, 0))[-2]
  bias = shapes.get(f"{CLASSIFIER}/Dense_0/bias") or (0,)
  return Sizes(channels, context, bias[0])


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Flattens collections: {"encoder/bn1/scale": x, "encoder/bn1/mean": x, ...}."""
  flat = {}
  for collection in ("params", "batch_stats"):
    flat |= traverse_util.flatten_dict(variables.get(collection, {}), sep="/")
  return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Puts arrays by path back into their collections, "params" and "batch_stats"."""
  running = {k: x for k, x in flat.items() if k.rpartition("/")[2] in RUNNING}
  params = {k: x for k, x in flat.items() if k not in running}
  return {
    name: traverse_util.unflatten_dict(part, sep="/")
    for name, part in (("params", params), ("batch_stats", running))
  }
