"""MoCo v1 and v2 (facebookresearch/moco): the query encoder of a checkpoint."""

from ssljax.weights.forms import COUNTED, RESNET
from ssljax.weights.tables import Family

FAMILY = Family(
  "MoCo v1, v2: ResNet, `module.encoder_q.`",
  (RESNET,),
  prefixes=("module.encoder_q.", "encoder_q."),
  beside=("*encoder_k.*", "*queue", "*queue_ptr", "fc.*", COUNTED),
)
