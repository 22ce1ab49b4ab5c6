"""timm's ResNets and vision transformers (`timm/models/vision_transformer.py`).

Positions are resized as its `resample_abs_pos_embed` does. Those of a model with
registers, or of DeiT III, are of patches alone.
"""

from ssljax.weights.forms import COUNTED, RESNET, VIT, vit_rows
from ssljax.weights.tables import Family, Form, Pictures, Row, norm

REGISTERS = Row("registers", "reg_token")
WITHOUT_CLASS = Form((*vit_rows("no_class"), REGISTERS), VIT.fields)
BEHIND_MEAN = Form(  # global_pool="avg": the last norm stands behind the mean
  (
    *(r for r in vit_rows() if not r.ours.startswith("norm/")),
    *norm("norm", "fc_norm"),
  ),
  {"resize": "antialias", "pool": "mean_norm"},
)
DIST_TOKEN = "DeiT's distillation token, a second class token, which our ViT lacks"

FAMILY = Family(
  "timm: ResNet-18 to 152; ViT with a class token, LayerScale, registers",
  (VIT, WITHOUT_CLASS, BEHIND_MEAN, RESNET),
  Pictures((0.5,) * 3, (0.5,) * 3, size=0, crop=0.9, interpolation="bicubic"),
  beside=("head.*", "fc.*", COUNTED),
  refused={
    "dist_token": DIST_TOKEN,
    "*.q_norm.*": "queries are normalised there, which our attention does not",
    "attn_pool.*": "it pools by attention, which our ViT does not",
  },
)
