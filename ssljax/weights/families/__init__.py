"""Whose weights are known, a file a family."""

from ssljax.weights.families import (
  barlow,
  clip,
  detectron2,
  dino,
  dinov2,
  huggingface,
  mae,
  moco,
  moco_v3,
  simsiam,
  supcon,
  swav,
  timm,
  torchvision,
  vicreg,
)
from ssljax.weights.tables import Family

FAMILIES: dict[str, Family] = {  # where names and shapes are alike the first is taken
  "torchvision": torchvision.FAMILY,
  "dino": dino.FAMILY,
  "timm": timm.FAMILY,
  "moco": moco.FAMILY,
  "moco_v3": moco_v3.FAMILY,
  "simsiam": simsiam.FAMILY,
  "swav": swav.FAMILY,
  "barlow": barlow.FAMILY,
  "vicreg": vicreg.FAMILY,
  "supcon": supcon.FAMILY,
  "dinov2": dinov2.FAMILY,
  "mae": mae.FAMILY,
  "clip": clip.FAMILY,
  "detectron2": detectron2.FAMILY,
  "hf_vit": huggingface.VIT,
  "hf_dinov2": huggingface.DINOV2,
  "hf_vit_mae": huggingface.VIT_MAE,
  "hf_resnet": huggingface.RESNET,
}
