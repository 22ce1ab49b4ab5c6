"""SupCon on ImageNet with a queue of 8192 labelled keys (Khosla et al. 2020, 4.1).

    python run.py --config configs/supcon_imagenet.py
    python run.py --config configs/supcon_imagenet.py:batch1024

Paper: linear 79.1 with the queue and 256 pictures a step; 78.7 with 6144 and none, by
LARS and AutoAugment, whose learning rate is not published. Of the queue's recipe the
author says from memory (SupContrast, issue 120): MoCo v2's, with temperature 0.07 and
1024 pictures a step, which is the second command, its learning rate scaled by us.
Epochs are not told; MoCo v2's are 200. Ours: not yet run.
"""

from configs import common, moco_v2_imagenet


def get_config(variant: str = ""):
  c = moco_v2_imagenet.get_config()
  c.method.name = "supcon_moco"
  c.method.temperature = 0.07
  c.method.base_temperature = 0.07
  c.method.queue_size = 8192
  if variant == "batch1024":
    c.batch_size = 1024
    c.optimizer.scaling = "linear"  # times batch_size / 256
  return common.finish(c, variant, "batch1024")
