"""ReSSL on ImageNet (Zheng et al. 2021): ResNet-50, the official 200 epochs.

    python run.py --config configs/ressl_imagenet.py

Paper: linear 69.9 with one view. Keys have strided groups in place of the shuffle, as
in `moco_v2_imagenet`. Ours: not yet run.
"""

from configs import common, moco_v2_imagenet


def get_config(variant: str = ""):
  c = moco_v2_imagenet.get_config()
  c.augment.recipe = "ressl"
  c.method.name = "ressl"
  c.method.temperature = 0.1
  c.method.key_temperature = 0.04
  c.method.momentum = 0.999
  c.method.queue_size = 131072
  c.method.projector = dict(layers=2, hidden=4096, out=512, norm=False)
  c.optimizer.learning_rate = dict(kind="cosine", base=0.05, warmup_epochs=5)
  c.optimizer.exclude = ("norm_and_bias",)
  return common.finish(c, variant)
