"""SimSiam (facebookresearch/simsiam): the encoder, whose `fc` is the projector."""

from ssljax.weights.forms import COUNTED, RESNET
from ssljax.weights.tables import Family

FAMILY = Family(
  "SimSiam: ResNet, `module.encoder.`",
  (RESNET,),
  prefixes=("module.encoder.",),
  beside=("*predictor.*", "fc.*", COUNTED),
)
