"""MoCo v3 (facebookresearch/moco-v3): the base encoder, its ViTs of 12 heads."""

from ssljax.weights.forms import COUNTED, RESNET, VIT
from ssljax.weights.tables import Family, Form

FAMILY = Family(
  "MoCo v3: ResNet, ViT-S and B of 12 heads, `module.base_encoder.`",
  (RESNET, Form(VIT.rows, {**VIT.fields, "heads": 12})),
  prefixes=("module.base_encoder.", "base_encoder."),
  beside=("*momentum_encoder.*", "*predictor.*", "fc.*", "head.*", COUNTED),
)
