"""SimSiam (facebookresearch/simsiam): the encoder, whose `fc` is the projector."""

from ssljax.weights.forms import COUNTED, RESNET, mlp
from ssljax.weights.tables import Family

HEADS = (*mlp("projector", "encoder.fc", 3), *mlp("predictor", "predictor", 2))

FAMILY = Family(
  "SimSiam: ResNet, `module.encoder.`",
  (RESNET._replace(heads=HEADS),),
  prefixes=("module.encoder.",),
  inside="encoder.",
  beside=("*predictor.*", "fc.*", COUNTED),
)
