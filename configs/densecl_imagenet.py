"""DenseCL on ImageNet (Wang et al. 2021): ResNet-50, the official 200 epochs.

    python run.py --config configs/densecl_imagenet.py

Paper: VOC detection 58.7 AP (MoCo v2 57.0). Views and all that is not about cells are
MoCo v2's; keys have strided groups, as in `moco_v2_imagenet`. Ours: not yet run.
"""

from configs import common, moco_v2_imagenet


def get_config(variant: str = ""):
  c = moco_v2_imagenet.get_config()
  c.method.name = "densecl"
  c.method.dense_weight = 0.5
  c.method.dense_projector = dict(layers=2, hidden=2048, out=128, norm=False)
  return common.finish(c, variant)
