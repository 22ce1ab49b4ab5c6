"""ResNet-50 on ImageNet with labels: the accuracy that linear probes are held to.

    python run.py --config configs/supervised_imagenet.py

Official: accuracy 76.1 (PyTorch's ImageNet example, 90 epochs). Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 256
  c.epochs = 90

  c.augment.recipe = "supervised"
  c.augment.size = 224

  c.encoder.name = "resnet50"

  c.method.name = "supervised"
  c.method.classifier = dict(init_std=0.0)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.1, milestones=(30, 60), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  return common.finish(c, variant)
