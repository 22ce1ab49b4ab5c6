"""MoCo v2 on ImageNet (Chen et al. 2020): v1 with an MLP head, blur and a cosine.

    python run.py --config configs/moco_v2_imagenet.py

Paper: linear 67.5 (200 epochs), 71.1 (800 epochs). Keys are normalised in strided
groups, which moves no picture between devices; `moco_v1_imagenet` keeps the published
permutation. Ours: not yet run.
"""

from configs import common, moco_v1_imagenet


def get_config(variant: str = ""):
  c = moco_v1_imagenet.get_config()
  c.augment.recipe = "moco_v2"
  c.method.bn_shuffle = "strided"
  c.method.temperature = 0.2
  c.method.projector = dict(layers=2, hidden=2048, out=128, norm=False)
  c.optimizer.learning_rate = dict(kind="cosine", base=0.03, per="epoch")
  return common.finish(c, variant)
