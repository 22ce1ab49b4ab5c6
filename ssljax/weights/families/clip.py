"""OpenAI's CLIP and open_clip: both towers, or the one of pictures, ViT or ResNet.

Of ViT: a norm before the first block, patches without bias, epsilon 1e-5. OpenAI's
activation is quick_gelu; open_clip's is GELU for weights of its own:
`--config.encoder.activation=gelu`. With both towers it is a run of the method `clip`,
whose features are the paper's for linear probes: those before `proj`. A ResNet's are
what its attention gives, which ends with that map: it has no other.
"""

from collections.abc import Mapping

from ssljax.weights.forms import COUNTED, RESNET_ROWS
from ssljax.weights.tables import (
  Family,
  Form,
  Pictures,
  Row,
  below,
  conv,
  dense,
  norm,
)

BLOCK = "transformer.resblocks.{}."
BLOCKS = (
  *(r for i in "12" for r in norm(f"block{{}}/norm{i}", f"{BLOCK}ln_{i}")),
  Row("block{}/attn/qkv/kernel", f"{BLOCK}attn.in_proj_weight", "dense"),
  Row("block{}/attn/qkv/bias", f"{BLOCK}attn.in_proj_bias"),
  *dense("block{}/attn/proj", f"{BLOCK}attn.out_proj"),
  *dense("block{}/fc1", f"{BLOCK}mlp.c_fc"),
  *dense("block{}/fc2", f"{BLOCK}mlp.c_proj"),
)
ROWS = (
  *conv("patch", "conv1"),
  Row("cls", "class_embedding", "vector"),
  Row("position", "positional_embedding", "rows"),
  *norm("pre_norm", "ln_pre"),
  *BLOCKS,
  *norm("norm", "ln_post"),
)
TEXT = (
  Row("embed/embedding", "token_embedding.weight"),
  Row("position", "positional_embedding", "rows"),
  *BLOCKS,
  *norm("norm", "ln_final"),
  Row("proj/kernel", "text_projection"),
)
OF_TEXTS = (*below(TEXT, "text/"), Row("logit_scale", "logit_scale"))
HEADS = (Row("projector/fc1/kernel", "visual.proj"), *OF_TEXTS)
STEM = ("stem_conv1", "stem_bn1"), ("stem_conv2", "stem_bn2"), ("conv1", "bn1")
POOL = "attnpool."
RESNET = (
  *(row for i, (ours, _) in enumerate(STEM, 1) for row in conv(ours, f"conv{i}")),
  *(row for i, (_, ours) in enumerate(STEM, 1) for row in norm(ours, f"bn{i}", True)),
  *(row for row in RESNET_ROWS if row.ours.startswith("layer")),
  Row("pool/position", f"{POOL}positional_embedding", "rows"),
  *dense("pool/qkv", *(f"{POOL}{name}_proj" for name in "qkv")),
  *dense("pool/proj", f"{POOL}c_proj"),
)
OF_RESNET = {"blurred": True, "pool": "attention"}
FIELDS = {"epsilon": 1e-5, "activation": "quick_gelu", "resize": "antialias"}


def method(encoder: Mapping) -> dict:
  """Makes the method `clip`, whose tower of texts is as that of pictures."""
  same = {name: encoder[name] for name in ("activation", "epsilon")}
  return {"name": "clip", "loss": "softmax", "projector": {}, "text": same}


def _method_of_resnet(_: Mapping) -> dict:
  text = {name: FIELDS[name] for name in ("activation", "epsilon")}
  return {"name": "clip", "loss": "softmax", "text": text}


FAMILY = Family(
  "CLIP: OpenAI's, open_clip's of ViT and ResNet; both towers, or `visual.` alone",
  (
    Form((*ROWS, Row("proj/kernel", "proj")), FIELDS),
    Form(ROWS, FIELDS, heads=HEADS, method=method),
    Form(RESNET, OF_RESNET),
    Form(RESNET, OF_RESNET, heads=OF_TEXTS, method=_method_of_resnet),
  ),
  Pictures(
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
    size=0,
    crop=1.0,
    interpolation="bicubic",
  ),
  prefixes=("visual.", "module.visual."),
  inside="visual.",
  beside=("text.*", "input_resolution", "context_length", "vocab_size", COUNTED),
)
