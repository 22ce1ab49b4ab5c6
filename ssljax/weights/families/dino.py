"""DINO (facebookresearch/dino): backbones as released, and the teacher of a run."""

from collections.abc import Mapping

from ssljax.weights.forms import COUNTED, RESNET, VIT, mlp
from ssljax.weights.tables import Family, Form, Pictures, Row

ROWS = tuple(row for row in VIT.rows if "/scale" not in row.ours or "norm" in row.ours)

HEADS = (
  *mlp("projector", "head.mlp", 3, step=2, normed=False),
  Row("prototypes/kernel", "head.last_layer.weight_v", "dense"),
  Row("prototypes/gain", "head.last_layer.weight_g", "dense"),
)


def _method(_: Mapping) -> dict:
  projector = {"activation": "gelu", "norm": False}
  return {"name": "given", "projector": projector, "prototypes": {}}


FAMILY = Family(
  "DINO: ViT-S and B, ResNet-50",
  (
    Form(ROWS, {"resize": "by_scale"}, heads=HEADS, method=_method),
    RESNET._replace(heads=HEADS, method=_method),
  ),
  Pictures(interpolation="bicubic"),
  prefixes=("", "backbone.", "module.backbone.", "module."),
  inside="backbone.",
  beside=("*head.mlp.*", "*head.last_layer.*", "fc.*", COUNTED),
)
