"""Barlow Twins on CIFAR-10, after lightly's benchmark: ResNet-18, 200 epochs, no blur.

    python run.py --config configs/barlow_cifar10.py
    python run.py --config configs/barlow_cifar10.py:cpu    # reduced, without a GPU

lightly: kNN 84.2 (batch 128; batch 512: 81.9), k = 200, temperature 0.1, best of all
epochs; its views are SimCLR's, ours the paper's, which are BYOL's.
Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 128
  c.epochs = 200

  c.augment.recipe = "byol"
  c.augment.size = 32
  c.augment.interpolation = "bilinear"
  c.augment.blur_p = 0.0

  common.lightly_resnet18(c)

  c.method.name = "barlow"
  c.method.off_diagonal = 0.005
  c.method.projector = dict(layers=2, hidden=2048, out=2048, hidden_bias=False)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.06, per="epoch")
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
    c.method.projector.update(hidden=512, out=512)  # this loss likes many dimensions
  return common.finish(c, variant, "cpu")
