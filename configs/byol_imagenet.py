"""BYOL on ImageNet (Grill et al. 2020): ResNet-50, 4096 pictures a step, 1000 epochs.

    python run.py --config configs/byol_imagenet.py

Paper: linear 74.3 (1000 epochs); official code: 74.4. Its views' boxes are one try,
clipped to the picture, ours torchvision's; its last norm of a block starts at 0, the
paper's at 1 as ours, without a difference by its README; its 312,784 steps are here
whole epochs, 312,000. Shorter runs, from the official
presets: 300 epochs take base 0.3, decay 1e-6 and tau 0.99; 100 epochs 0.45, 1e-6 and
0.99; 40 epochs 0.45, 1e-6 and 0.97. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 1000

  c.augment.recipe = "byol"
  c.augment.size = 224
  c.augment.ops = "byol"

  c.encoder.name = "resnet50"
  c.encoder.start = "haiku"

  c.method.name = "byol"
  c.method.tau = dict(kind="cosine", base=0.996, end=1.0)
  head = dict(layers=2, hidden=4096, out=256, out_bias=False, start="haiku")
  c.method.projector = dict(head)
  c.method.predictor = dict(head)

  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.2, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1.5e-6
  c.optimizer.exclude = ("norm_and_bias",)
  c.evals.probe.learning_rate = 1e-3
  return common.finish(c, variant)
