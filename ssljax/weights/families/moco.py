"""MoCo v1 and v2 (facebookresearch/moco): the query encoder of a checkpoint."""

from ssljax.weights.forms import COUNTED, RESNET, mlp
from ssljax.weights.tables import Family, dense

FIRST = tuple(dense("projector/fc1", "encoder_q.fc"))  # version 1's
SECOND = mlp("projector", "encoder_q.fc", 2, step=2, normed=False)

FAMILY = Family(
  "MoCo v1, v2: ResNet, `module.encoder_q.`",
  (RESNET._replace(heads=SECOND), RESNET._replace(heads=FIRST)),
  prefixes=("module.encoder_q.", "encoder_q."),
  inside="encoder_q.",
  beside=("*encoder_k.*", "*queue", "*queue_ptr", "fc.*", COUNTED),
)
