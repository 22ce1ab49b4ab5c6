"""Barlow Twins (facebookresearch/barlowtwins): the backbone of a checkpoint.

What it releases as `resnet50.pth` has torchvision's names.
"""

from ssljax.weights.forms import COUNTED, RESNET
from ssljax.weights.tables import Family

FAMILY = Family(
  "Barlow Twins: ResNet, `module.backbone.`",
  (RESNET,),
  prefixes=("module.backbone.", "backbone."),
  beside=("*projector.*", "*bn.num_batches_tracked", "module.bn.*", COUNTED),
)
