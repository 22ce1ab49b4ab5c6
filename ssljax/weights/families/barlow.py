"""Barlow Twins (facebookresearch/barlowtwins): a checkpoint's backbone and projector.

What it releases as `resnet50.pth` has torchvision's names.
"""

from ssljax.weights.forms import COUNTED, RESNET, mlp
from ssljax.weights.tables import Family

FAMILY = Family(
  "Barlow Twins: ResNet, `module.backbone.`",
  (RESNET._replace(heads=mlp("projector", "projector", 3)),),
  prefixes=("module.backbone.", "backbone."),
  inside="backbone.",
  beside=("*projector.*", "*bn.num_batches_tracked", "module.bn.*", COUNTED),
)
