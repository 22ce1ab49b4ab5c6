"""OpenAI's CLIP and open_clip (their `visual`): vision transformers.

A norm before the first block, patches without bias, epsilon 1e-5, features of a linear
map. OpenAI's activation is quick_gelu; open_clip's is GELU for weights of its own:
`--config.encoder.activation=gelu`.
"""

from ssljax.weights.tables import Family, Form, Pictures, Row, conv, dense, norm

BLOCK = "transformer.resblocks.{}."
ROWS = (
  *conv("patch", "conv1"),
  Row("cls", "class_embedding", "vector"),
  Row("position", "positional_embedding", "rows"),
  *norm("pre_norm", "ln_pre"),
  *(r for i in "12" for r in norm(f"block{{}}/norm{i}", f"{BLOCK}ln_{i}")),
  Row("block{}/attn/qkv/kernel", f"{BLOCK}attn.in_proj_weight", "dense"),
  Row("block{}/attn/qkv/bias", f"{BLOCK}attn.in_proj_bias"),
  *dense("block{}/attn/proj", f"{BLOCK}attn.out_proj"),
  *dense("block{}/fc1", f"{BLOCK}mlp.c_fc"),
  *dense("block{}/fc2", f"{BLOCK}mlp.c_proj"),
  *norm("norm", "ln_post"),
  Row("proj/kernel", "proj"),
)

FAMILY = Family(
  "CLIP's tower of pictures, ViT: OpenAI's, open_clip's, `visual.`",
  (Form(ROWS, {"epsilon": 1e-5, "activation": "quick_gelu", "resize": "antialias"}),),
  Pictures(
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
    size=0,
    crop=1.0,
    interpolation="bicubic",
  ),
  prefixes=("visual.", "module.visual."),
  beside=(
    *("transformer.*", "module.transformer.*", "*token_embedding.weight"),
    *("positional_embedding", "module.positional_embedding", "*ln_final.*"),
    *("*text_projection", "*logit_scale", "*logit_bias"),
    *("input_resolution", "context_length", "vocab_size"),
  ),
)
