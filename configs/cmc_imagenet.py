"""CMC on ImageNet (Tian et al. 2019): L and ab, each a ResNet-50 of half the width.

    python run.py --config configs/cmc_imagenet.py
    python run.py --config configs/cmc_imagenet.py:ycbcr

The official code's numbers. Official README: linear about 63; YCbCr is better by 0.5
to 1, and the widest network, of twice the width, reaches 68.4. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 128
  c.epochs = 240

  c.augment.recipe = "cmc" if variant != "ycbcr" else "cmc_ycbcr"
  c.augment.size = 224
  c.augment.crop_min = 0.08  # 0.2 is for AlexNet

  c.encoder.name = "resnet50"
  c.encoder.width = 32
  c.encoder.stem_width = 64  # under the widest network too
  c.encoder.bn_group_size = 32  # 4 GPUs

  c.method.name = "cmc"
  c.method.channels = (1, 2)
  c.method.temperature = 0.07
  c.method.bank_momentum = 0.5
  c.method.negatives = 16384
  c.method.projector = dict(layers=1, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.03, milestones=(120, 160, 200), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  return common.finish(c, variant, "ycbcr")
