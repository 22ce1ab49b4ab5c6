"""DINOv2 (facebookresearch/dinov2): ViT-S, B, L and g, with registers or without.

With registers it resizes positions by a smoothing filter and to the size asked for,
without as DINO does.
"""

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


def _resize(fields):
  return {"resize": "antialias" if fields.get("registers") else "by_scale"}


FAMILY = Family(
  "DINOv2: ViT-S, B, L and g (SwiGLU), with registers or without",
  (
    Form(OWN, {"mlp": "plain"}, adapt=_resize, always=SCALED),
    Form(GATED, {"mlp": "swiglu"}, adapt=_resize, always=SCALED),
  ),
  Pictures(interpolation="bicubic"),
  prefixes=("", "backbone."),
  beside=("*_head.*",),
)
