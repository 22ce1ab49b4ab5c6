"""NNCLR on ImageNet (Dwibedi et al. 2021): ResNet-50, 4096 pictures a step.

    python run.py --config configs/nnclr_imagenet.py

Paper: linear 75.4 (1000 epochs, two views; recalled, not checked). The views here are
BYOL's pair, as in solo-learn. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 1000

  c.augment.recipe = "byol"
  c.augment.size = 224

  c.encoder.name = "resnet50"

  c.method.name = "nnclr"
  c.method.temperature = 0.1
  c.method.queue_size = 98_304
  c.method.projector = dict(layers=3, hidden=2048, out=256, last_norm="affine")
  c.method.predictor = dict(layers=2, hidden=4096, out=256)

  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.3, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-6
  c.optimizer.exclude = ("norm_and_bias",)
  return common.finish(c, variant)
