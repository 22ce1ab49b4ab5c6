"""Which network it is: a config's fields, read off the shapes of its arrays."""

import re
from collections.abc import Mapping
from typing import Any

from ssljax import nets
from ssljax.fields import ConfigError

Shapes = Mapping[str, tuple[int, ...]]  # path below a part of the network -> shape
FIRST = (
  "patch",
  "stem_conv1",
  "conv1",
  "stem",
  "embed",
)  # that see pictures
BLOCK = re.compile(r"block(\d+)/")
LINEAR = re.compile(r"^fc(\d+)/", re.MULTILINE)
STAGE = re.compile(r"layer(\d+)_(\d+)/")
RESNETS = {  # stage sizes, whether its blocks are bottlenecks -> the encoder's name
  (tuple(nets.ENCODERS[name].keywords["stage_sizes"]), deep): name
  for name, deep in (
    *(("resnet18", False), ("resnet34", False)),
    *(("resnet50", True), ("resnet101", True), ("resnet152", True)),
  )
}
STAGED = {  # stage sizes, width -> the name of a ConvNeXt or a Swin
  (tuple(encoder.keywords["stage_sizes"]), encoder.keywords["width"]): name
  for name, encoder in nets.ENCODERS.items()
  if name.startswith(("convnext", "swin"))
}
DEEPEST = (  # BYOL's ResNet-200; CLIP's RN50x4, x16 and x64
  *((3, 24, 36, 3), (4, 6, 10, 6)),
  *((6, 8, 18, 8), (3, 15, 36, 10)),
)
VITS = {
  nets.ENCODERS[name].keywords["width"]: name for name in ("vit_ti", "vit_s", "vit_l")
}


def encoder(shapes: Shapes) -> dict[str, Any]:
  """Reads an encoder's fields off its arrays' shapes; {}: they are none of ours.

  The heads of a vision transformer stand in no shape: they are of 64 numbers, as in
  most, unless a family or the config says otherwise.
  """
  if "patch/kernel" in shapes:
    return _vit(shapes)
  if "conv1/kernel" in shapes:
    return _resnet(shapes)
  if "stem/kernel" in shapes:
    return _convnext(shapes)
  if "embed/kernel" in shapes:
    return _swin(shapes)
  return {}


def _resnet(shapes: Shapes) -> dict[str, Any]:
  side, *_, stem = shapes["conv1/kernel"]
  sizes = _stage_sizes(shapes)
  deep = any(name.endswith("/conv3/kernel") for name in shapes)
  width = shapes.get("layer1_0/conv1/kernel", (stem,))[-1]
  found = {"name": RESNETS.get((sizes, deep), "resnet50" if deep else "resnet18")}
  imagenet = side == 7 or "stem_conv1/kernel" in shapes
  found |= {"stem": "imagenet" if imagenet else "cifar", "width": width}
  if (sizes, deep) not in RESNETS:
    found["stage_sizes"] = sizes
  if stem != width:
    found["stem_width"] = stem
  if "pool/position" in shapes:
    grid = round(max(0, _at(shapes, "pool/position", 2) - 1) ** 0.5)
    side = 2 ** (1 + len(sizes)) * max(1, grid)  # of a picture: each stage strides
    found |= {"pool": "attention", "image_size": side}
  if "pool/proj/kernel" in shapes:
    found["out"] = _at(shapes, "pool/proj/kernel", 1)
  return found


def _stage_sizes(shapes: Shapes) -> tuple[int, ...]:
  """Counts the blocks of each stage."""
  blocks = {(int(i), int(j)) for i, j in STAGE.findall("\n".join(shapes))}
  return tuple(
    1 + max((j for k, j in blocks if k == i), default=-1)
    for i in range(1, 1 + max((i for i, _ in blocks), default=0))
  )


def _staged(shapes: Shapes, first: str, otherwise: str) -> dict[str, Any]:
  """Reads what ConvNeXt and Swin share, with `first` in front of their blocks."""
  side, *_, width = shapes[f"{first}/kernel"]
  sizes = _stage_sizes(shapes)
  name = STAGED.get((sizes, width), otherwise)
  return {"name": name, "stage_sizes": sizes, "width": width, "patch_size": side}


def _convnext(shapes: Shapes) -> dict[str, Any]:
  found = _staged(shapes, "stem", "convnext_tiny")
  found["layer_scale"] = 1e-6 if "layer1_0/scale" in shapes else 0.0
  return found | {"grn": "layer1_0/grn/scale" in shapes}


def _swin(shapes: Shapes) -> dict[str, Any]:
  rows, heads = shapes.get("layer1_0/attn/position", (1, 1))
  found = _staged(shapes, "embed", "swin_t")
  found["head_width"] = max(1, found["width"] // heads)
  return found | {"window": (round(rows**0.5) + 1) // 2}


def _vit(shapes: Shapes) -> dict[str, Any]:
  patch, *_, width = shapes["patch/kernel"]
  depth = 1 + max(map(int, BLOCK.findall("\n".join(shapes))), default=0)
  found = {"name": VITS.get(width, "vit_b"), "width": width, "depth": depth}
  found |= {"heads": max(1, width // 64), "patch_size": patch, "position": "learned"}
  tokens = _at(shapes, "position", 2) - 1
  found["image_size"] = patch * max(1, round(max(0, tokens) ** 0.5))
  hidden = shapes.get("block0/fc1/kernel", (width, 4 * width))[1]
  if hidden == 2 * shapes.get("block0/fc2/kernel", (hidden, width))[0]:
    found["mlp"], hidden = "swiglu", hidden // 2
  found["mlp_ratio"] = _ratio(hidden, width)
  if "block0/scale1" in shapes:
    found["layer_scale"] = 1e-5
  if "registers" in shapes:
    found["registers"] = _at(shapes, "registers", 1)
  found |= {name: True for name in ("pre_norm",) if f"{name}/scale" in shapes}
  if "mask" in shapes:
    found["mask_token"] = True
  if "patch/bias" not in shapes:
    found["patch_bias"] = False
  if "block0/attn/qkv/bias" not in shapes:
    found["qkv_bias"] = False
  if "proj/kernel" in shapes:
    found["out"] = _at(shapes, "proj/kernel", 1)
  return found


def method(
  shapes: Shapes, known: Mapping[str, Any], told: Mapping[str, Mapping]
) -> dict[str, Any]:
  """Reads the heads' fields off their arrays' shapes -> the group `method`.

  `known` is the group but for what shapes tell; `told` are fields by role, laid over.
  """
  heads: dict[str, dict] = {}
  for path, shape in shapes.items():
    role, _, rest = path.partition("/")
    heads.setdefault(role, {})[rest] = shape
  found = {k: v for k, v in known.items() if not isinstance(v, Mapping)}
  for role, head in heads.items():
    if read := READERS.get(nets.HEADS.get(role)):
      more = {**known.get(role, {}), **told.get(role, {})}
      found[role] = {**read(head, more), **more}
  return found


def _mlp(shapes: Shapes, known: Mapping[str, Any]) -> dict[str, Any]:
  layers = max((int(n) for n in LINEAR.findall("\n".join(shapes))), default=1)
  layers = known.get("layers", layers)
  last = f"fc{layers}", f"bn{layers}"

  def wide(n):  # a bias cannot be transposed
    names = f"fc{n}/bias", f"bn{n}/mean", f"fc{n}/kernel"
    return next((shapes[name][-1] for name in names if name in shapes), 1)

  kinds = {(True, True): "affine", (True, False): "scale", (False, False): "plain"}
  found = {"layers": layers, "out": wide(layers)}
  found |= {"out_bias": f"{last[0]}/bias" in shapes, "last_norm": "none"}
  if f"{last[1]}/mean" in shapes:
    affine = tuple(f"{last[1]}/{name}" in shapes for name in ("scale", "bias"))
    found["last_norm"] = kinds.get(affine, "affine")
  if layers > 1:
    found["hidden"] = wide(1)
    found["hidden_bias"], found["norm"] = "fc1/bias" in shapes, "bn1/mean" in shapes
  return found


def _prototypes(shapes: Shapes, _: Mapping) -> dict[str, Any]:
  found = {"num": _at(shapes, "kernel", 2), "use_bias": "bias" in shapes}
  return {**found, "gain": "gain" in shapes}


def _text(shapes: Shapes, _: Mapping) -> dict[str, Any]:
  vocabulary, width = shapes.get("embed/embedding", (2, 64))
  depth = 1 + max(map(int, BLOCK.findall("\n".join(shapes))), default=0)
  found = {"vocabulary": vocabulary, "width": width, "depth": depth}
  found |= {"heads": max(1, width // 64), "out": _at(shapes, "proj/kernel", 1)}
  (hidden,) = shapes.get("block0/fc1/bias", (4 * width,))
  if hidden != 4 * width:
    found["mlp_ratio"] = _ratio(hidden, width)
  return found | ({"out_bias": True} if "proj/bias" in shapes else {})


def _classifier(shapes: Shapes, _: Mapping) -> dict[str, Any]:
  return {"norm": True} if "norm/scale" in shapes else {}


READERS = {nets.MLP: _mlp, nets.Prototypes: _prototypes, nets.TextTransformer: _text}
READERS[nets.Classifier] = _classifier


def _at(shapes: Shapes, name: str, otherwise: int) -> int:
  """Returns the second axis of an array, or a number where it has none: it is wrong."""
  shape = shapes.get(name, ())
  return shape[1] if len(shape) > 1 else otherwise


def _ratio(hidden: int, width: int) -> float:
  """Computes the ratio of which int(width * ratio) is `hidden`."""
  ratio = hidden / width
  return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def check_whole(fields: Mapping[str, Any], told: Mapping[str, Any]) -> None:
  """Raises ConfigError for stages of a depth that nobody published, unless `told`."""
  sizes, kind = fields.get("stage_sizes"), fields["name"].partition("_")[0]
  published = sorted({k[0] for k, name in STAGED.items() if name.startswith(kind)})
  if fields["name"] in RESNETS.values():
    kind, published = "ResNet", [stages for stages, _ in RESNETS]
  if sizes and sizes not in (*DEEPEST, *published) and "stage_sizes" not in told:
    known = ", ".join(map(str, published))
    raise ConfigError(
      f"its stages have {sizes} blocks, and a {kind}'s {known}: is the file whole? If "
      f"so: --config.encoder.stage_sizes={','.join(map(str, sizes))}"
    )
