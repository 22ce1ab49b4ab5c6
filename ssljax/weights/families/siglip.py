"""SigLIP, as Hugging Face has it: `SiglipModel`, and `SiglipVisionModel`.

Patches without a class token, read off by a learned query; texts that are not causal,
read off at their last id. A run of the method `clip` of the sigmoid loss, without a
projector. Its texts need its tokenizer.json.
"""

from collections.abc import Mapping

from ssljax.weights.families import hf_clip
from ssljax.weights.tables import Family, Form, Pictures, Row, below, conv, dense, norm

HEAD = "head."
OF_TOWERS = ("patch", "cls", "position", "pre_norm")
ROWS = (
  *conv("patch", "embeddings.patch_embedding", bias=True),
  Row("position", "embeddings.position_embedding.weight", "rows"),
  *(row for row in hf_clip.ROWS if not row.ours.startswith(OF_TOWERS)),
  Row("pool/probe", f"{HEAD}probe"),
  Row("pool/qkv/kernel", f"{HEAD}attention.in_proj_weight", "dense"),
  Row("pool/qkv/bias", f"{HEAD}attention.in_proj_bias"),
  *dense("pool/proj", f"{HEAD}attention.out_proj"),
  *norm("pool/norm", f"{HEAD}layernorm"),
  *(r for i in "12" for r in dense(f"pool/fc{i}", f"{HEAD}mlp.fc{i}")),
)
HEADS = (
  *below(hf_clip.TEXT, "text/", "text_model."),
  *dense("text/proj", "text_model.head"),
  Row("logit_scale", "logit_scale", "scalar"),
  Row("logit_bias", "logit_bias", "scalar"),
)
PICTURES = Pictures((0.5,) * 3, (0.5,) * 3, size=0, crop=1.0, interpolation="bicubic")
FIELDS = {
  **{"class_token": False, "pool": "attention", "resize": "bicubic"},
  **{"activation": "gelu_tanh", "epsilon": 1e-6},
}
WIDE = 1152  # so400m's, of 16 heads


def heads(fields: Mapping) -> dict:
  """Tells how many heads a network of these fields has, where not of 64 numbers."""
  return {"heads": 16} if fields["width"] == WIDE else {}


def _method(encoder: Mapping) -> dict:
  text = {"activation": encoder["activation"], "epsilon": encoder["epsilon"]}
  text |= {"causal": False, "read": "last", **heads(encoder)}
  return {"name": "clip", "loss": "sigmoid", "text": text}


FAMILY = Family(
  "Hugging Face `SiglipModel`, `SiglipVisionModel`",
  (
    Form(ROWS, FIELDS, adapt=heads),
    Form(ROWS, FIELDS, adapt=heads, heads=HEADS, method=_method),
  ),
  PICTURES,
  prefixes=("vision_model.", ""),
  inside="vision_model.",
  beside=("*position_ids",),
)
