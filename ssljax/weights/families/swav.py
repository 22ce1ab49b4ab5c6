"""SwAV (facebookresearch/swav): ResNets, wide ones too, with the deviations of it."""

from collections.abc import Mapping

from ssljax.weights.forms import COUNTED, RESNET, mlp
from ssljax.weights.tables import Family, Pictures, Row

HEADS = (
  *mlp("projector", "projection_head", 2),
  Row("prototypes/kernel", "prototypes.weight", "dense"),
)


def _method(_: Mapping) -> dict:
  return {"name": "given", "prototypes": {"weight_norm": False}}


FAMILY = Family(
  "SwAV, DeepCluster v2: ResNet-50 and its wider ones, `module.`",
  (RESNET._replace(heads=HEADS, method=_method),),
  Pictures(std=(0.228, 0.224, 0.225)),
  prefixes=("module.", ""),
  beside=("projection_head.*", "prototypes.*", COUNTED),
)
