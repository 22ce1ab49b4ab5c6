"""SwAV on ImageNet (Caron et al. 2020): ResNet-50, 4096 pictures a step, 2 + 6 crops.

    python run.py --config configs/swav_imagenet.py
    python run.py --config configs/swav_imagenet.py:2x224         # without small crops
    python run.py --config configs/swav_imagenet.py:2x160_4x96    # 57 % of the pixels

Paper: linear 75.3 (800 epochs); official code: 72.1, 73.9 and 74.6 after 100, 200 and
400 epochs, `:2x224` 70.1 after 400. `:2x160_4x96` is the form in which the paper
compares methods: 74.1 after 400 (recalled, not checked); its crops are those of the
official script for DeepCluster-v2 (74.3). The official code takes BatchNorm's
statistics over 512 pictures, for speed; here they are the whole batch's. Ours: not yet
run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 800

  c.augment.recipe = "swav"
  c.augment.size = 224
  c.augment.local_size = 96
  c.augment.local_views = 6

  c.encoder.name = "resnet50"

  c.method.name = "swav"
  c.method.temperature = 0.1
  c.method.epsilon = 0.05
  c.method.projector = dict(layers=2, hidden=2048, out=128)
  c.method.prototypes = dict(num=3000, weight_norm=False)

  c.optimizer.name = "larc"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=4.8, end=0.0048, start=0.3, warmup_epochs=10, inclusive=True
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-6
  c.optimizer.freeze_until = {"prototypes": 313 / 312}  # epochs: 313 steps
  if variant == "2x224":
    c.epochs = 400
    c.augment.local_views = 0
    c.augment.crop_min = 0.08
  if variant == "2x160_4x96":
    c.epochs = 400
    c.augment.update(size=160, local_views=4, crop_min=0.08)
  return common.finish(c, variant, "2x224", "2x160_4x96")
