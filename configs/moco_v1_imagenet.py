"""MoCo v1 on ImageNet (He et al. 2020): a queue of 65,536 keys.

    python run.py --config configs/moco_v1_imagenet.py

Paper: linear 60.6 (200 epochs). Official repository: 60.8 ± 0.2. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 256
  c.epochs = 200

  c.augment.recipe = "moco_v1"
  c.augment.size = 224

  c.encoder.name = "resnet50"
  c.encoder.bn_group_size = 32  # 8 GPUs in the paper

  c.method.name = "moco"
  c.method.temperature = 0.07
  c.method.momentum = 0.999
  c.method.queue_size = 65536
  c.method.bn_shuffle = "permute"
  c.method.projector = dict(layers=1, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.03, milestones=(120, 160), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  return common.finish(c, variant)
