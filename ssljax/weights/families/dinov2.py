"""DINOv2 (facebookresearch/dinov2): ViT-S, B, L and g, with registers or without.

With registers it resizes positions by a smoothing filter and to the size asked for,
without as DINO does. What is released as `..._linear4_head.pth` or `_linear_head.pth`
is a classifier of ImageNet's 1000 classes on four blocks or one; beside the backbone,
as the hub's `..._lc` has it, it makes a run of the method `supervised`.
"""

from collections.abc import Mapping

from ssljax.weights.forms import SCALED, vit_rows
from ssljax.weights.tables import Family, Form, Pictures, Row, dense

OWN = (
  *vit_rows(),
  Row("mask", "mask_token", "rows"),
  Row("registers", "register_tokens"),
)
GATED = (
  *(row for row in OWN if "/fc" not in row.ours),
  *dense("block{}/fc1", "blocks.{}.mlp.w12"),
  *dense("block{}/fc2", "blocks.{}.mlp.w3"),
)


BLOCKS = {"plain": OWN, "swiglu": GATED}
CLASSIFIER = tuple(dense("classifier/Dense_0", "linear_head"))


def _resize(fields):
  return {"resize": "antialias" if fields.get("registers") else "by_scale"}


def _classifies(_: Mapping) -> dict:
  return {"name": "supervised", "classifier": {}}


def _form(mlp: str, pool: str = "cls", **more) -> Form:
  fields = {"mlp": mlp, "pool": pool}
  return Form(BLOCKS[mlp], fields, adapt=_resize, always=SCALED, **more)


FAMILY = Family(
  "DINOv2: ViT-S, B, L and g (SwiGLU), with registers or without",
  (
    *(_form(mlp) for mlp in BLOCKS),
    *(
      _form(mlp, pool, heads=CLASSIFIER, method=_classifies)
      for mlp in BLOCKS
      for pool in ("cls4_mean", "cls_mean")
    ),
  ),
  Pictures(interpolation="bicubic"),
  prefixes=("", "backbone."),
  inside="backbone.",
  beside=("*_head.*",),
)
