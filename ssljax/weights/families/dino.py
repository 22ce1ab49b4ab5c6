"""DINO (facebookresearch/dino): backbones as released, and the teacher of a run."""

from ssljax.weights.forms import COUNTED, RESNET, VIT
from ssljax.weights.tables import Family, Form, Pictures

ROWS = tuple(row for row in VIT.rows if "/scale" not in row.ours or "norm" in row.ours)

FAMILY = Family(
  "DINO: ViT-S and B, ResNet-50",
  (Form(ROWS, {"resize": "by_scale"}), RESNET),
  Pictures(interpolation="bicubic"),
  prefixes=("", "backbone.", "module.backbone.", "module."),
  beside=("*head.mlp.*", "*head.last_layer.*", "fc.*", COUNTED),
)
