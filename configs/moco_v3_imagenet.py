"""MoCo v3 on ImageNet (Chen et al. 2021): ResNet-50, 4096 pictures a step, 1000 epochs.

    python run.py --config configs/moco_v3_imagenet.py

Official: linear 74.6 (1000 epochs); 72.8 after 300 epochs, with decay 1e-6 and
momentum from 0.99; 68.9 after 100 with base 0.6 besides. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 1000

  c.augment.recipe = "byol"
  c.augment.size = 224
  c.augment.crop_min = 0.2
  c.augment.interpolation = "bilinear"

  c.encoder.name = "resnet50"
  c.encoder.zero_init_gamma = True

  c.method.name = "moco_v3"
  c.method.temperature = 1.0
  c.method.momentum = dict(kind="cosine", base=0.996, end=1.0)
  c.method.projector = dict(
    layers=2,
    hidden=4096,
    out=256,
    hidden_bias=False,
    out_bias=False,
    last_norm="plain",
  )
  c.method.predictor = dict(
    layers=2, hidden=4096, out=256, hidden_bias=False, out_bias=False
  )

  c.watch = ("^encoder/conv1/",)

  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.3, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1.5e-6
  c.optimizer.exclude = ("norm_and_bias",)
  return common.finish(c, variant)
