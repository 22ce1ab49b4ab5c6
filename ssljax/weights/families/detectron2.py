"""Detectron2's ResNet, as MoCo's `convert-pretrain-to-detectron2.py` names it.

For its R50-C4 and R50-FPN configs, which read pictures in RGB: `INPUT.FORMAT: "RGB"`.
"""

from ssljax.weights.forms import COUNTED
from ssljax.weights.tables import Family, Form, conv, norm

BLOCK = "res{+1}.{}."
ROWS = (
  *conv("conv1", "stem.conv1"),
  *norm("bn1", "stem.conv1.norm", running=True),
  *conv("layer{}_{}/conv{}", f"{BLOCK}conv{{}}"),
  *norm("layer{}_{}/bn{}", f"{BLOCK}conv{{}}.norm", running=True),
  *conv("layer{}_{}/downsample_conv", f"{BLOCK}shortcut"),
  *norm("layer{}_{}/downsample_bn", f"{BLOCK}shortcut.norm", running=True),
)

FAMILY = Family(
  "Detectron2: ResNet as MoCo's converter names it",
  (Form(ROWS),),
  beside=("stem.fc.*", COUNTED),
)
