"""timm's ResNets, ConvNeXt (V2 too), Swin and vision transformers.

Positions are resized as its `resample_abs_pos_embed` does. Those of a model with
registers, or of DeiT III, are of patches alone. Of SigLIP's its code has another GELU
than they were trained with: that is `--config.encoder.activation=gelu_tanh`.
"""

from ssljax.weights.families import siglip
from ssljax.weights.forms import COUNTED, RESNET, VIT, vit_rows
from ssljax.weights.tables import Family, Form, Pictures, Row, conv, dense, norm

REGISTERS = Row("registers", "reg_token")
WITHOUT_CLASS = Form((*vit_rows("no_class"), REGISTERS), VIT.fields)
BEHIND_MEAN = Form(  # global_pool="avg": the last norm stands behind the mean
  (
    *(r for r in vit_rows() if not r.ours.startswith("norm/")),
    *norm("norm", "fc_norm"),
  ),
  {"resize": "antialias", "pool": "mean_norm"},
)
POOL = "attn_pool."
CLASSLESS = tuple(row for row in vit_rows() if row.ours != "cls")
MEAN = Form(  # no class token, the mean of patches behind the norm
  CLASSLESS, {"resize": "antialias", "pool": "mean", "class_token": False}
)
MAPPED = Form(  # patches read off by a learned query: SigLIP's
  (
    *CLASSLESS,
    Row("pool/probe", f"{POOL}latent"),
    Row("pool/qkv/kernel", (f"{POOL}q.weight", f"{POOL}kv.weight"), "dense_q_kv"),
    Row("pool/qkv/bias", (f"{POOL}q.bias", f"{POOL}kv.bias"), "q_kv"),
    *dense("pool/proj", f"{POOL}proj"),
    *norm("pool/norm", f"{POOL}norm"),
    *(row for i in "12" for row in dense(f"pool/fc{i}", f"{POOL}mlp.fc{i}")),
  ),
  {"resize": "antialias", "pool": "attention", "class_token": False},
  adapt=siglip.heads,
)
DIST_TOKEN = "DeiT's distillation token, a second class token, which our ViT lacks"

BLOCK = "stages.{-1}.blocks.{}."
CONVNEXT_ROWS = (
  *conv("stem", "stem.0", bias=True),
  *norm("stem_norm", "stem.1"),
  *norm("layer{}_0/down_norm", "stages.{-1}.downsample.0"),
  *conv("layer{}_0/down", "stages.{-1}.downsample.1", bias=True),
  *conv("layer{}_{}/conv", f"{BLOCK}conv_dw", bias=True),
  *norm("layer{}_{}/norm", f"{BLOCK}norm"),
  *dense("layer{}_{}/fc1", f"{BLOCK}mlp.fc1"),
  *norm("layer{}_{}/grn", f"{BLOCK}mlp.grn"),
  *dense("layer{}_{}/fc2", f"{BLOCK}mlp.fc2"),
  Row("layer{}_{}/scale", f"{BLOCK}gamma"),
  *norm("norm", "head.norm"),
)
POINTWISE_ROWS = tuple(  # conv_mlp=True: those up to nano
  row._replace(layout="pointwise") if row.layout == "dense" else row
  for row in CONVNEXT_ROWS
)
CONVNEXT = Form(CONVNEXT_ROWS), Form(POINTWISE_ROWS)

SWIN_BLOCK = "layers.{-1}.blocks.{}."
SWIN = Form(
  (
    *conv("embed", "patch_embed.proj", bias=True),
    *norm("embed_norm", "patch_embed.norm"),
    *norm("layer{}_0/down_norm", "layers.{-1}.downsample.norm"),
    Row("layer{}_0/down/kernel", "layers.{-1}.downsample.reduction.weight", "dense"),
    *norm("layer{}_{}/norm1", f"{SWIN_BLOCK}norm1"),
    Row("layer{}_{}/attn/position", f"{SWIN_BLOCK}attn.relative_position_bias_table"),
    *dense("layer{}_{}/attn/qkv", f"{SWIN_BLOCK}attn.qkv"),
    *dense("layer{}_{}/attn/proj", f"{SWIN_BLOCK}attn.proj"),
    *norm("layer{}_{}/norm2", f"{SWIN_BLOCK}norm2"),
    *dense("layer{}_{}/fc1", f"{SWIN_BLOCK}mlp.fc1"),
    *dense("layer{}_{}/fc2", f"{SWIN_BLOCK}mlp.fc2"),
    *norm("norm", "norm"),
  )
)

FAMILY = Family(
  "timm: ResNet-18 to 152; ViT with a class token or none, registers; ConvNeXt; Swin",
  (VIT, WITHOUT_CLASS, BEHIND_MEAN, MEAN, MAPPED, RESNET, *CONVNEXT, SWIN),
  Pictures((0.5,) * 3, (0.5,) * 3, size=0, crop=0.9, interpolation="bicubic"),
  beside=("head.*", "fc.*", COUNTED),
  refused={
    "dist_token": DIST_TOKEN,
    "*.q_norm.*": "queries are normalised there, which our attention does not",
  },
)
