"""Barlow Twins on ImageNet (Zbontar et al. 2021): ResNet-50, 2048 pictures a step.

    python run.py --config configs/barlow_imagenet.py

Paper: linear 73.2 (1000 epochs; recalled, not checked); official README: 73.5, of a
later checkpoint (before: 73.3). Its `scale_loss` of 0.024 became the learning rate of
biases and norms, 0.0048 = 0.2 x 0.024. Its 16 processes leave a sixteenth of the
gradient, which for those is a rate sixteen times smaller: `method.world_size`, 1 for
the gradient of the paper's equation. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 2048
  c.epochs = 1000

  c.augment.recipe = "byol"
  c.augment.size = 224

  c.encoder.name = "resnet50"
  c.encoder.zero_init_gamma = True

  c.method.name = "barlow"
  c.method.off_diagonal = 0.0051
  c.method.world_size = 16  # V100s in the official README
  c.method.projector = dict(
    layers=3, hidden=8192, out=8192, hidden_bias=False, out_bias=False
  )

  # Ends are a thousandth of base batch_size / 256.
  warmup = dict(kind="cosine", warmup_epochs=10)
  small = dict(learning_rate=dict(base=0.0048, end=3.84e-5, **warmup))
  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(base=0.2, end=1.6e-3, **warmup)
  c.optimizer.groups = {"norm_and_bias": small}
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-6
  c.optimizer.exclude = ("norm_and_bias",)
  c.evals.interpolation = "bilinear"  # though crops are bicubic
  return common.finish(c, variant)
