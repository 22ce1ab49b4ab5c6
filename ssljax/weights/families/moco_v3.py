"""MoCo v3 (facebookresearch/moco-v3): the base encoder, its ViTs of 12 heads."""

from ssljax.weights.forms import COUNTED, RESNET, VIT, mlp
from ssljax.weights.tables import Family, Form

PREDICTOR = mlp("predictor", "predictor", 2)
OF_RESNET = (*mlp("projector", "base_encoder.fc", 2), *PREDICTOR)
OF_VIT = (*mlp("projector", "base_encoder.head", 3), *PREDICTOR)

FAMILY = Family(
  "MoCo v3: ResNet, ViT-S and B of 12 heads, `module.base_encoder.`",
  (
    RESNET._replace(heads=OF_RESNET),
    Form(VIT.rows, {**VIT.fields, "heads": 12}, heads=OF_VIT),
  ),
  prefixes=("module.base_encoder.", "base_encoder."),
  inside="base_encoder.",
  beside=("*momentum_encoder.*", "*predictor.*", "fc.*", "head.*", COUNTED),
)
