"""VICReg (facebookresearch/vicreg): the backbone and the expander of a checkpoint.

What it releases as `resnet50.pth` has torchvision's names.
"""

from ssljax.weights.forms import COUNTED, RESNET, mlp
from ssljax.weights.tables import Family

FAMILY = Family(
  "VICReg: ResNet, `module.backbone.`",
  (RESNET._replace(heads=mlp("projector", "projector", 3)),),
  prefixes=("module.backbone.", "backbone."),
  inside="backbone.",
  beside=("*projector.*", COUNTED),
)
