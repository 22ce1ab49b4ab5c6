"""MAE (facebookresearch/mae): the encoder, or what was fine-tuned from it."""

from ssljax.weights.families.timm import BEHIND_MEAN
from ssljax.weights.forms import VIT
from ssljax.weights.tables import Family, Pictures

FAMILY = Family(
  "MAE: ViT-B, L and H, pre-trained or fine-tuned",
  (VIT, BEHIND_MEAN),
  Pictures(size=0, interpolation="bicubic"),
  beside=("decoder*", "mask_token", "head.*"),
)
