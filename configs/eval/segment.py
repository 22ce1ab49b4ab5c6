"""Segmentation: a class for each pixel, read from frozen features of patches.

    python run.py --config configs/eval/segment.py --config.checkpoint=runs/dino \
--config.data.dir=~/scenes
    python run.py --config configs/eval/segment.py --config.checkpoint=runs/dino \
--config.data.name=oxford_iiit_pet --config.segment.size=448

~/scenes has images/ and masks/, a mask a picture of the same name: a palette's numbers
or grey ones, 255 where there is no class. kNN is the in-context retrieval of Balazevic
et al. (2023): k = 30, temperature 0.02, of each patch's soft share of classes. Linear
is DINOv2's head (Oquab et al. 2023, section 7.4): BatchNorm and a 1x1 convolution of
the last map, resized to the mask. Pictures are seen whole, squeezed to `size` pixels,
without augmentation, and judged there; DINOv2 trains on crops and slides a window.
"""

from configs.eval import common


def get_config():
  c = common.base(
    "segment",
    size=0,  # pixels; 0: the run's
    block="",  # of the encoder; "": the last
    classes=0,  # 0: as many as masks hold
    ignore=(255,),  # numbers in masks that are no class
    k=30,
    temperature=0.02,
    bank=50_000,  # patches
    steps=4000,  # DINOv2: 40000
    batch=16,
    learning_rate=1e-3,
    weight_decay=1e-4,
    seed=0,
    shown=8,  # pictures in the report
  )
  c.data.name = "folder"
  return c
