"""Networks: encoders and heads, built from config groups."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ssljax import fields
from ssljax.nets.audio import Waveform
from ssljax.nets.autoregressive import GRU, Contextual, Forecast, PixelCNN
from ssljax.nets.convnext import (
  ConvNeXtAtto,
  ConvNeXtBase,
  ConvNeXtFemto,
  ConvNeXtNano,
  ConvNeXtPico,
  ConvNeXtSmall,
  ConvNeXtTiny,
)
from ssljax.nets.decoder import (
  Decoder,
  LatentPredictor,
  MaskedAutoencoder,
  PatchPredictor,
)
from ssljax.nets.heads import MLP, Classifier, Network, Prototypes
from ssljax.nets.multiview import MultiView
from ssljax.nets.preact import (
  ResNet20v2,
  WideResNet28x2,
  WideResNet28x8,
  WideResNet28x10,
)
from ssljax.nets.resnet import ResNet18, ResNet34, ResNet50, ResNet101, ResNet152
from ssljax.nets.swin import SwinB, SwinS, SwinT
from ssljax.nets.text import Sentence, TextTransformer, TwoTowers
from ssljax.nets.vit import (
  ViT_7B,
  ViT_B,
  ViT_g,
  ViT_H,
  ViT_Hplus,
  ViT_L,
  ViT_S,
  ViT_Ti,
)

ENCODERS = {
  "resnet18": ResNet18,
  "resnet34": ResNet34,
  "resnet50": ResNet50,
  "resnet101": ResNet101,
  "resnet152": ResNet152,
  "resnet20v2": ResNet20v2,
  "wide_resnet28x2": WideResNet28x2,
  "wide_resnet28x8": WideResNet28x8,
  "wide_resnet28x10": WideResNet28x10,
  "convnext_atto": ConvNeXtAtto,
  "convnext_femto": ConvNeXtFemto,
  "convnext_pico": ConvNeXtPico,
  "convnext_nano": ConvNeXtNano,
  "convnext_tiny": ConvNeXtTiny,
  "convnext_small": ConvNeXtSmall,
  "convnext_base": ConvNeXtBase,
  "swin_t": SwinT,
  "swin_s": SwinS,
  "swin_b": SwinB,
  "vit_ti": ViT_Ti,
  "vit_s": ViT_S,
  "vit_b": ViT_B,
  "vit_l": ViT_L,
  "vit_h": ViT_H,
  "vit_hplus": ViT_Hplus,
  "vit_g": ViT_g,
  "vit_7b": ViT_7B,
  "waveform": Waveform,
  "sentence": Sentence,
}
# Fields of modules that are not for configs: Flax's, and facts of the data.
FIXED = ("parent", "name", "dtype", "block", "num_classes")
SOURCE = "ssljax/nets/__init__.py"
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
  "patch_predictor": PatchPredictor,
  "patch_projector": MLP,
  "patch_prototypes": Prototypes,
  "dense_projector": MLP,
}
SHARED = {  # a head -> the one whose name may stand there, and that it then is
  "patch_projector": "projector",
  "patch_prototypes": "prototypes",
}

__all__ = [
  "ENCODERS",
  "HEADS",
  "MLP",
  "SHARED",
  "Contextual",
  "LatentPredictor",
  "MaskedAutoencoder",
  "MultiView",
  "Network",
  "Prototypes",
  "TextTransformer",
  "TwoTowers",
  "build",
  "build_head",
]


def declare(config: Mapping[str, Any], path: str = "encoder") -> fields.Group:
  """Lists the fields of the encoder that a config has at `path`."""
  return fields.chosen(path, config, ENCODERS, noun="encoder", skip=FIXED)


def declare_head(role: str, path: str = "method") -> fields.Group:
  """Lists the fields of a head in its `role`, one of HEADS, of a network at `path`."""
  path = f"{path}.{role}"
  return fields.Group(path, path, fields.declared(HEADS[role], skip=FIXED))


def build(config: Mapping[str, Any], dtype: Any = jnp.float32) -> nn.Module:
  """Builds an encoder, computing in `dtype`, from {"name": one of ENCODERS, ...}.

  ConfigError names an unknown encoder or field, and what exists.
  """
  fields.check(declare(config), config)
  numbers = {k: v for k, v in config.items() if k != "name"}
  return ENCODERS[config["name"]](**numbers, dtype=dtype)


def build_head(
  role: str, config: Mapping[str, Any], dtype: Any = jnp.float32, **facts: int
) -> nn.Module:
  """Builds the head that a `Network` has in this `role`, one of HEADS, from its fields.

  `facts` are its fields that the data tell, not a config.
  """
  fields.check(declare_head(role), config)
  return HEADS[role](**config, **facts, dtype=dtype)
