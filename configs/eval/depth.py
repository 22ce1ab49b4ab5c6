"""Depth: how far away each pixel is, read from frozen features of patches.

    python run.py --config configs/eval/depth.py --config.checkpoint=runs/dino \
--config.data.dir=~/rooms --config.depth.scale=0.001
    python run.py --config configs/eval/depth.py --config.checkpoint=runs/dino \
--config.data.name=nyu_depth_v2 --config.depth.size=448 --config.depth.max_depth=10

~/rooms has images/ and depth/, a depth a picture of the same name: a grey PNG of 16
bits, times `scale`, or .npy; 0 is unknown. The head is DINOv2's linear one (Oquab et
al. 2023, section 7.4): a 1x1 convolution of each patch beside the picture's own
features, upsampled four times, scores 256 even bins with AdaBins' linear normalisation.
Pictures are seen whole, squeezed to `size` pixels, without augmentation, and judged
there.
"""

from configs.eval import common


def get_config():
  c = common.base(
    "depth",
    size=0,  # pixels; 0: the run's
    block="",  # of the encoder; "": the last
    scale=1.0,  # of what is stored; 0.001: millimetres to metres
    min_depth=1e-3,
    max_depth=0.0,  # 0: the greatest of the training split
    bins=256,
    steps=4000,
    batch=16,
    learning_rate=1e-3,
    weight_decay=0.01,
    seed=0,
    shown=8,  # pictures in the report
  )
  c.data.name = "folder"
  return c
