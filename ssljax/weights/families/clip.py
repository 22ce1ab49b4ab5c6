"""OpenAI's CLIP and open_clip: both towers, or the one of pictures, transformers.

A norm before the first block, patches without bias, epsilon 1e-5. OpenAI's activation
is quick_gelu; open_clip's is GELU for weights of its own:
`--config.encoder.activation=gelu`. With both towers it is a run of the method `clip`,
whose features are the paper's for linear probes: those before `proj`.
"""

from collections.abc import Mapping

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
HEADS = (
  Row("projector/fc1/kernel", "visual.proj"),
  *below(TEXT, "text/"),
  Row("logit_scale", "logit_scale"),
)
FIELDS = {"epsilon": 1e-5, "activation": "quick_gelu", "resize": "antialias"}


def method(encoder: Mapping) -> dict:
  """Makes the method `clip`, whose tower of texts is as that of pictures."""
  same = {name: encoder[name] for name in ("activation", "epsilon")}
  return {"name": "clip", "loss": "softmax", "projector": {}, "text": same}


FAMILY = Family(
  "CLIP of ViT: OpenAI's, open_clip's; both towers, or `visual.` alone",
  (
    Form((*ROWS, Row("proj/kernel", "proj")), FIELDS),
    Form(ROWS, FIELDS, heads=HEADS, method=method),
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
  beside=("text.*", "input_resolution", "context_length", "vocab_size"),
)
