"""DINOv3's vision transformers (facebookresearch/dinov3), and Hugging Face's.

Rotary positions of base 100, four storage tokens, which are registers, LayerScale, keys
without bias, epsilon 1e-5; S+, H+ and 7B have SwiGLU, of three maps. For those trained
on satellite pictures: `--config.run.augment.mean=0.43,0.411,0.296`,
`--config.run.augment.std=0.213,0.156,0.143`.
"""

from collections.abc import Mapping

import numpy as np

from ssljax.weights.families.huggingface import DINOV2_ROWS
from ssljax.weights.forms import SCALED, vit_rows
from ssljax.weights.tables import Family, Form, Pictures, Row, conv, dense, norm

FIELDS = {"position": "rope", "key_bias": False, "epsilon": 1e-5}
PICTURES = Pictures(interpolation="bicubic")
OWN = (
  *(row for row in vit_rows() if row.ours != "position" and "/fc" not in row.ours),
  Row("mask", "mask_token", "rows"),
  Row("registers", "storage_tokens"),
)
MLPS = {
  "plain": (("mlp.fc1",), ("mlp.fc2",)),
  "swiglu": (("mlp.w1", "mlp.w2"), ("mlp.w3",)),
}
HF_MLPS = {
  "plain": (("mlp.up_proj",), ("mlp.down_proj",)),
  "swiglu": (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",)),
}


def _heads(fields: Mapping) -> dict:
  return {"heads": 32} if fields["width"] == 4096 else {}  # 7B's, of 128 numbers


def _buffers(fields: Mapping) -> dict[str, np.ndarray]:
  """Makes what the official state dict has besides: wavelengths, masks of biases."""
  quarter, width = fields["width"] // fields["heads"] // 4, fields["width"]
  base = fields.get("rope_base", 100.0)
  periods = base ** (np.arange(quarter, dtype=np.float32) / quarter)
  found = {"rope_embed.periods": periods.astype(np.float32)}
  if fields.get("qkv_bias", True):
    mask = (np.arange(3 * width) // width != 1).astype(np.float32)
    for i in range(fields["depth"]):
      found[f"blocks.{i}.attn.qkv.bias_mask"] = mask
  return found


def _form(mlp: str, block: str, names: dict, rows: tuple, **more) -> Form:
  first, second = ([f"{block}{name}" for name in part] for part in names[mlp])
  rows += (*dense("block{}/fc1", *first), *dense("block{}/fc2", *second))
  return Form(rows, {**FIELDS, "mlp": mlp}, adapt=_heads, always=SCALED, **more)


def _hf(layer: str) -> tuple[Row, ...]:
  """Makes the rows of `DINOv3ViTModel`, blocks below `layer`."""
  q, k, v = (f"{layer}attention.{name}_proj" for name in "qkv")
  tokens = ("cls", "registers")
  return (
    *conv("patch", "embeddings.patch_embeddings", bias=True),
    *(row for row in DINOV2_ROWS if row.ours in tokens),
    Row("mask", "embeddings.mask_token"),
    Row("block{}/attn/qkv/kernel", tuple(f"{n}.weight" for n in (q, k, v)), "dense"),
    Row("block{}/attn/qkv/bias", (f"{q}.bias", f"{v}.bias"), "no_keys"),
    *dense("block{}/attn/proj", f"{layer}attention.o_proj"),
    *(r for i in "12" for r in norm(f"block{{}}/norm{i}", f"{layer}norm{i}")),
    *(Row(f"block{{}}/scale{i}", f"{layer}layer_scale{i}.lambda1") for i in "12"),
    *norm("norm", "norm"),
  )


FAMILY = Family(
  "DINOv3: ViT-S to 7B",
  tuple(_form(mlp, "blocks.{}.", MLPS, OWN, buffers=_buffers) for mlp in MLPS),
  PICTURES,
  prefixes=("", "backbone.", "teacher.backbone."),
  beside=("*rope_embed.periods", "*.qkv.bias_mask", "*local_cls_norm.*", "*_head.*"),
)
HF = Family(
  "Hugging Face `DINOv3ViTModel`",
  tuple(
    _form(mlp, layer, HF_MLPS, _hf(layer))
    for layer in ("layer.{}.", "model.layer.{}.")
    for mlp in HF_MLPS
  ),
  PICTURES,
)
