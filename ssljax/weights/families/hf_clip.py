"""Hugging Face's `CLIPModel`, both towers, and its vision model, projected or not."""

from ssljax.weights.families import clip
from ssljax.weights.tables import Family, Form, Row, below, conv, dense, norm

LAYER = "encoder.layers.{}."
QKV = tuple(f"{LAYER}self_attn.{name}_proj" for name in "qkv")
BLOCKS = (
  *(r for i in "12" for r in norm(f"block{{}}/norm{i}", f"{LAYER}layer_norm{i}")),
  *dense("block{}/attn/qkv", *QKV),
  *dense("block{}/attn/proj", f"{LAYER}self_attn.out_proj"),
  *(r for i in "12" for r in dense(f"block{{}}/fc{i}", f"{LAYER}mlp.fc{i}")),
)
ROWS = (
  *conv("patch", "embeddings.patch_embedding"),
  Row("cls", "embeddings.class_embedding", "vector"),
  Row("position", "embeddings.position_embedding.weight", "rows"),
  *norm("pre_norm", "pre_layrnorm"),  # so it is written there
  *BLOCKS,
  *norm("norm", "post_layernorm"),
)
TEXT = (
  Row("embed/embedding", "embeddings.token_embedding.weight"),
  Row("position", "embeddings.position_embedding.weight", "rows"),
  *BLOCKS,
  *norm("norm", "final_layer_norm"),
)
PROJECTED = Row("projector/fc1/kernel", "visual_projection.weight", "dense")
HEADS = (
  PROJECTED,
  *below(TEXT, "text/", "text_model."),
  Row("text/proj/kernel", "text_projection.weight", "dense"),
  Row("logit_scale", "logit_scale"),
)
FIELDS = {**clip.FIELDS, "resize": "bicubic"}

FAMILY = Family(
  "Hugging Face `CLIPModel`, `CLIPVisionModelWithProjection`, `CLIPVisionModel`",
  (
    Form(ROWS, FIELDS, heads=(PROJECTED,)),
    Form(ROWS, FIELDS, heads=HEADS, method=clip.method),
  ),
  clip.FAMILY.pictures,
  prefixes=("vision_model.", ""),
  inside="vision_model.",
  beside=("*position_ids",),
)
