"""Hugging Face's ViT, Dinov2 (with registers too), ViTMAE and ResNet (transformers).

Queries, keys and values are three arrays there, which are one of ours.
"""

from ssljax.weights.forms import COUNTED, SCALED
from ssljax.weights.tables import Family, Form, Pictures, Row, conv, dense, norm

EMBED = "embeddings."
LAYER = "encoder.layer.{}."
ATTENTION = f"{LAYER}attention.attention."
QKV = tuple(f"{ATTENTION}{name}" for name in ("query", "key", "value"))
SHARED = (
  *conv("patch", f"{EMBED}patch_embeddings.projection", bias=True),
  Row("cls", f"{EMBED}cls_token"),
  Row("position", f"{EMBED}position_embeddings"),
  *dense("block{}/attn/qkv", *QKV),
  *dense("block{}/attn/proj", f"{LAYER}attention.output.dense"),
  *norm("norm", "layernorm"),
)
VIT_ROWS = (
  *SHARED,
  *norm("block{}/norm1", f"{LAYER}layernorm_before"),
  *norm("block{}/norm2", f"{LAYER}layernorm_after"),
  *dense("block{}/fc1", f"{LAYER}intermediate.dense"),
  *dense("block{}/fc2", f"{LAYER}output.dense"),
)
DINOV2_ROWS = (
  *SHARED,
  Row("mask", f"{EMBED}mask_token", "rows"),
  Row("registers", f"{EMBED}register_tokens"),
  *(r for i in "12" for r in norm(f"block{{}}/norm{i}", f"{LAYER}norm{i}")),
  *(Row(f"block{{}}/scale{i}", f"{LAYER}layer_scale{i}.lambda1") for i in "12"),
  *(r for i in "12" for r in dense(f"block{{}}/fc{i}", f"{LAYER}mlp.fc{i}")),
)
GATED_ROWS = (
  *(row for row in DINOV2_ROWS if "/fc" not in row.ours),
  *dense("block{}/fc1", f"{LAYER}mlp.weights_in"),
  *dense("block{}/fc2", f"{LAYER}mlp.weights_out"),
)
STAGE = "encoder.stages.{-1}.layers.{}."
RESNET_ROWS = (
  *conv("conv1", "embedder.embedder.convolution"),
  *norm("bn1", "embedder.embedder.normalization", running=True),
  *conv("layer{}_{}/conv{}", f"{STAGE}layer.{{-1}}.convolution"),
  *norm("layer{}_{}/bn{}", f"{STAGE}layer.{{-1}}.normalization", running=True),
  *conv("layer{}_{}/downsample_conv", f"{STAGE}shortcut.convolution"),
  *norm("layer{}_{}/downsample_bn", f"{STAGE}shortcut.normalization", running=True),
)
HALVES = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


def _dinov2_resize(fields):
  return {"resize": "antialias" if fields.get("registers") else "bicubic"}


VIT = Family(
  "Hugging Face `ViTModel` and those on it",
  (Form(VIT_ROWS, {"epsilon": 1e-12, "resize": "bicubic"}),),
  Pictures(**HALVES, size=0, crop=1.0),
  prefixes=("", "vit."),
  beside=("pooler.*", "classifier.*"),
  refused={
    "*distillation_token": "DeiT's distillation token, which our ViT lacks",
  },
)
DINOV2 = Family(
  "Hugging Face `Dinov2Model`, `Dinov2WithRegistersModel`",
  (
    Form(DINOV2_ROWS, {"mlp": "plain"}, adapt=_dinov2_resize, always=SCALED),
    Form(GATED_ROWS, {"mlp": "swiglu"}, adapt=_dinov2_resize, always=SCALED),
  ),
  Pictures(interpolation="bicubic"),
  prefixes=("", "dinov2.", "dinov2_with_registers."),
  beside=("classifier.*",),
)
VIT_MAE = Family(
  "Hugging Face `ViTMAEModel`, `ViTMAEForPreTraining`",
  (Form(VIT_ROWS, {"epsilon": 1e-12, "resize": "bicubic"}),),
  Pictures(size=0, crop=1.0),
  prefixes=("vit.", ""),
  beside=("decoder.*",),
)
RESNET = Family(
  "Hugging Face `ResNetModel`",
  (Form(RESNET_ROWS),),
  Pictures(interpolation="bicubic"),
  prefixes=("", "resnet."),
  beside=("classifier.*", COUNTED),
)
