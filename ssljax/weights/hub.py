"""Hugging Face's folders: what stands in them beside the weights, in and out."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ssljax.fields import ConfigError
from ssljax.weights.tables import Pictures

CONFIG, PICTURES, CARD = "config.json", "preprocessor_config.json", "README.md"
ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "relu": "relu"}
FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """Reads what a folder says -> fields of the encoder that shapes do not, `Pictures`.

  Of what is not there nothing is said.
  """
  config, pictures = (_json(folder / name) for name in (CONFIG, PICTURES))
  fields: dict[str, Any] = {}
  if "num_attention_heads" in config:
    fields["heads"] = int(config["num_attention_heads"])
    fields["epsilon"] = float(config.get("layer_norm_eps", 1e-6))
    act = config.get("hidden_act", "gelu")
    if act not in ACTIVATIONS:
      raise ConfigError(
        f"{folder / CONFIG}: hidden_act={act!r} is none of {', '.join(ACTIVATIONS)}"
      )
    fields["activation"] = ACTIVATIONS[act]
  return fields, _pictures(pictures)


def _pictures(says: Mapping[str, Any]) -> dict[str, Any]:
  found: dict[str, Any] = {}
  if says.get("do_normalize", True):
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
      if theirs in says:
        found[ours] = tuple(map(float, says[theirs]))
  size, cut = (_side(says.get(name)) for name in ("size", "crop_size"))
  if says.get("do_center_crop") and cut:
    found["size"] = cut
    found["crop"] = min(1.0, cut / size) if size else 1.0
  elif size:
    found["size"], found["crop"] = size, float(says.get("crop_pct") or 1.0)
  if says.get("resample") in FILTERS:
    found["interpolation"] = FILTERS[says["resample"]]
  return found


def _side(size: Any) -> int:
  if isinstance(size, Mapping):
    size = size.get("shortest_edge") or size.get("height")
  return size if isinstance(size, int) else 0


def config_of(
  family: str, fields: Mapping[str, Any], stages: tuple[int, ...], deep: bool
) -> dict[str, Any]:
  """Writes the config of transformers that builds an encoder of these `fields`.

  `stages` and `deep`: of a ResNet, the blocks of its stages, whether as bottlenecks.
  """
  if family == "hf_resnet":
    width = fields["width"]
    wide = [width * (4 if deep else 1) * 2**i for i in range(len(stages))]
    return {
      "architectures": ["ResNetModel"],
      "model_type": "resnet",
      "embedding_size": fields["stem_width"] or width,
      "hidden_sizes": wide,
      "depths": list(stages),
      "layer_type": "bottleneck" if deep else "basic",
      "hidden_act": "relu",
      "num_channels": 3,
    }
  ratio = fields["mlp_ratio"]
  said = {
    "hidden_size": fields["width"],
    "num_hidden_layers": fields["depth"],
    "num_attention_heads": fields["heads"],
    "hidden_act": fields["activation"],
    "layer_norm_eps": fields["epsilon"],
    "image_size": fields["image_size"],
    "patch_size": fields["patch_size"],
    "num_channels": 3,
    "qkv_bias": fields["qkv_bias"],
  }
  if family == "hf_dinov2":
    name, kind = "Dinov2Model", "dinov2"
    if fields["registers"]:
      name, kind = "Dinov2WithRegistersModel", "dinov2_with_registers"
      said["num_register_tokens"] = fields["registers"]
    said["mlp_ratio"] = int(ratio) if fields["mlp"] == "plain" else 4
    said["use_swiglu_ffn"] = fields["mlp"] == "swiglu"
    said["layerscale_value"] = fields["layer_scale"] or 1.0
    return {"architectures": [name], "model_type": kind, **said}
  hidden = {"intermediate_size": int(fields["width"] * ratio)}
  kind = {"hf_vit": ("ViTModel", "vit"), "hf_vit_mae": ("ViTMAEModel", "vit_mae")}
  name, model = kind[family]
  return {"architectures": [name], "model_type": model, **said, **hidden}


def pictures_of(pictures: Pictures) -> dict[str, Any]:
  """Writes the preprocessor's config: shorter side, central square, mean, deviation."""
  filters = {name: number for number, name in FILTERS.items()}
  return {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": round(pictures.size / pictures.crop)},
    "resample": filters[pictures.interpolation],
    "do_center_crop": True,
    "crop_size": {"height": pictures.size, "width": pictures.size},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(pictures.mean),
    "image_std": list(pictures.std),
    "do_convert_rgb": True,
  }


def _json(path: pathlib.Path) -> dict[str, Any]:
  if not path.is_file():
    return {}
  try:
    found = json.loads(path.read_text("utf-8"))
  except ValueError as error:
    raise ConfigError(f"{path} is no JSON ({error})") from error
  return found if isinstance(found, dict) else {}
