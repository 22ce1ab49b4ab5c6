"""torchvision's ResNets (`torchvision/models/resnet.py`), trained with labels."""

from ssljax.weights.forms import COUNTED, RESNET
from ssljax.weights.tables import Family

FAMILY = Family(
  "torchvision: ResNet-18, 34, 50, 101, 152",
  (RESNET,),
  beside=("fc.*", COUNTED),
)
