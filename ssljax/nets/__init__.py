"""Networks: encoders and heads, built from config groups."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import check_choice, check_names
from ssljax.nets.audio import Waveform
from ssljax.nets.autoregressive import GRU, Contextual, Forecast, PixelCNN
from ssljax.nets.decoder import Decoder, MaskedAutoencoder
from ssljax.nets.heads import MLP, Classifier, Network, Prototypes
from ssljax.nets.multiview import MultiView
from ssljax.nets.preact import ResNet20v2
from ssljax.nets.resnet import ResNet18, ResNet34, ResNet50, ResNet101, ResNet152
from ssljax.nets.text import Sentence, TextTransformer, TwoTowers
from ssljax.nets.vit import ViT_B, ViT_L, ViT_S, ViT_Ti

ENCODERS = {
  "resnet18": ResNet18,
  "resnet34": ResNet34,
  "resnet50": ResNet50,
  "resnet101": ResNet101,
  "resnet152": ResNet152,
  "resnet20v2": ResNet20v2,
  "vit_ti": ViT_Ti,
  "vit_s": ViT_S,
  "vit_b": ViT_B,
  "vit_l": ViT_L,
  "waveform": Waveform,
  "sentence": Sentence,
}
FIXED = ("parent", "name", "dtype")  # fields of modules that are not for configs
HEADS = {  # a part of a network -> what it is
  "projector": MLP,
  "predictor": MLP,
  "prototypes": Prototypes,
  "classifier": Classifier,
  "gru": GRU,
  "pixelcnn": PixelCNN,
  "forecast": Forecast,
  "text": TextTransformer,
  "decoder": Decoder,
}

__all__ = [
  "ENCODERS",
  "HEADS",
  "Contextual",
  "MaskedAutoencoder",
  "MultiView",
  "Network",
  "TwoTowers",
  "build",
  "build_head",
]


def build(config: Mapping[str, Any], dtype: Any = jnp.float32) -> nn.Module:
  """`{"name": one of ENCODERS, field: value, ...}` -> encoder computing in `dtype`.

  ConfigError names an unknown encoder or field, and what exists.
  """
  given = dict(config)
  name = given.pop("name", None)
  check_choice("encoder.name", name, ENCODERS)
  return _make(f"encoder {name!r}", ENCODERS[name], given, dtype)


def build_head(
  role: str, config: Mapping[str, Any], dtype: Any = jnp.float32
) -> nn.Module:
  """Fields of the head that a `Network` has in this `role`, one of HEADS -> head."""
  return _make(f"method.{role}", HEADS[role], config, dtype)


def _make(
  owner: str, variant: Callable, given: Mapping[str, Any], dtype: Any
) -> nn.Module:
  module = getattr(variant, "func", variant)  # an encoder is a partial of its module
  fields = [f for f in dataclasses.fields(module) if f.name not in FIXED]
  preset = getattr(variant, "keywords", {})
  needed = [
    f.name for f in fields if f.default is dataclasses.MISSING and f.name not in preset
  ]
  check_names(owner, given, [f.name for f in fields], needed)
  return variant(**given, dtype=dtype)
