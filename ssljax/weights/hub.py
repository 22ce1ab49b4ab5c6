"""Hugging Face's folders: what stands in them beside the weights, in and out."""

import json
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ssljax.fields import ConfigError
from ssljax.weights.tables import Pictures

CONFIG, PICTURES, CARD = "config.json", "preprocessor_config.json", "README.md"
ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "relu": "relu"}
ACTIVATIONS |= {"gelu_pytorch_tanh": "gelu_tanh"}
GATE = "silu"  # of DINOv3's gated MLP
FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class Said(NamedTuple):
  """What a folder says that shapes do not; of what is not there nothing."""

  encoder: Mapping[str, Any] = MappingProxyType({})  # fields
  heads: Mapping[str, Mapping[str, Any]] = MappingProxyType({})  # fields by role
  pictures: Mapping[str, Any] = MappingProxyType({})  # fields of `Pictures`


def read(folder: pathlib.Path) -> Said:
  """Reads what a folder says beside the weights; ConfigError: it is no JSON."""
  config, pictures = (_json(folder / name) for name in (CONFIG, PICTURES))
  encoder = _network(folder, config.get("vision_config", config))
  text = _network(folder, config.get("text_config", {}))
  return Said(encoder, {"text": text} if text else {}, _pictures(pictures))


def _network(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, Any]:
  fields: dict[str, Any] = {}
  if "num_attention_heads" in config:
    fields["heads"] = int(config["num_attention_heads"])
  if "layer_norm_eps" in config:
    fields["epsilon"] = float(config["layer_norm_eps"])
  if "rope_theta" in config:
    fields["rope_base"] = float(config["rope_theta"])
  if "num_attention_heads" in config and "hidden_act" in config:  # a transformer's
    act = config["hidden_act"]
    if act == GATE and config.get("use_gated_mlp"):
      return {**fields, "mlp": "swiglu"}
    if act not in ACTIVATIONS:
      raise ConfigError(
        f"{folder / CONFIG}: hidden_act={act!r} is none of {', '.join(ACTIVATIONS)}"
      )
    fields["activation"] = ACTIVATIONS[act]
  return fields


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
  family: str,
  fields: Mapping[str, Any],
  heads: Mapping[str, Mapping],
  shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Any]:
  """Writes the config of transformers that builds an encoder of these `fields`.

  `heads` are fields of the heads that are written too, by role, `shapes` those of the
  network's arrays, by path.
  """
  if family == "hf_resnet":
    width, stages = fields["width"], tuple(fields["stage_sizes"])
    deep = "encoder/layer1_0/conv3/kernel" in shapes
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
    "hidden_act": _act(fields),
    "layer_norm_eps": fields["epsilon"],
    "image_size": fields["image_size"],
    "patch_size": fields["patch_size"],
    "num_channels": 3,
    "qkv_bias": fields["qkv_bias"],
  }
  if family in ("hf_clip", "hf_siglip"):
    context = shapes.get("text/position", (1, 0, 0))[1]
    kind = family.removeprefix("hf_")
    return _towers(kind, said, fields, heads, context)
  if family == "hf_dinov3":
    return {
      "architectures": ["DINOv3ViTModel"],
      "model_type": "dinov3_vit",
      **said,
      "intermediate_size": int(fields["width"] * ratio),
      "query_bias": fields["qkv_bias"],
      "value_bias": fields["qkv_bias"],
      "key_bias": False,
      "rope_theta": fields["rope_base"],
      "use_gated_mlp": fields["mlp"] == "swiglu",
      "hidden_act": GATE if fields["mlp"] == "swiglu" else _act(fields),
      "num_register_tokens": fields["registers"],
      "layerscale_value": fields["layer_scale"] or 1.0,
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


def _act(fields: Mapping) -> str:
  return next(name for name, x in ACTIVATIONS.items() if x == fields["activation"])


def _towers(
  kind: str, said: Mapping, fields: Mapping, heads: Mapping, context: int
) -> dict[str, Any]:
  """Writes the config of "clip" or "siglip": both towers, or that of pictures."""
  name = {"clip": "CLIP", "siglip": "Siglip"}[kind]
  hidden = {"intermediate_size": int(fields["width"] * fields["mlp_ratio"])}
  vision = {**said, **hidden, "model_type": f"{kind}_vision_model"}
  if "projector" in heads:
    vision["projection_dim"] = heads["projector"]["out"]
  if "text" not in heads:
    projected = "WithProjection" * ("projector" in heads)
    return {"architectures": [f"{name}VisionModel{projected}"], **vision}
  text = heads["text"]
  described = {
    "model_type": f"{kind}_text_model",
    "vocab_size": text["vocabulary"],
    "hidden_size": text["width"],
    "num_hidden_layers": text["depth"],
    "num_attention_heads": text["heads"],
    "intermediate_size": int(text["width"] * text["mlp_ratio"]),
    "hidden_act": _act(text),
    "layer_norm_eps": text["epsilon"],
    "max_position_embeddings": context,
    "projection_dim": text["out"],
    "projection_size": text["out"],
  }
  if text["read"] == "end":  # start and end are the last ids
    last = text["vocabulary"] - 1
    described |= {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": 0}
  return {
    "architectures": [f"{name}Model"],
    "model_type": kind,
    "projection_dim": text["out"],
    "text_config": described,
    "vision_config": vision,
  }


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
