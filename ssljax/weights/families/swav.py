"""SwAV (facebookresearch/swav): ResNets, wide ones too, with the deviations of it."""

from ssljax.weights.forms import COUNTED, RESNET
from ssljax.weights.tables import Family, Pictures

FAMILY = Family(
  "SwAV, DeepCluster v2: ResNet-50 and its wider ones, `module.`",
  (RESNET,),
  Pictures(std=(0.228, 0.224, 0.225)),
  prefixes=("module.", ""),
  beside=("projection_head.*", "prototypes.*", COUNTED),
)
