"""SimCLR on ImageNet (Chen et al. 2020): ResNet-50, 4096 pictures a step.

    python run.py --config configs/simclr_imagenet.py

Paper: linear 69.3 (1000 epochs); official README: 69.1, and 64.5 after 100 epochs. The
head is the paper's of two layers; the code has three by default since SimCLR v2.
Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 1000

  common.simclr_pictures(c)
  c.augment.size = 224

  c.encoder.name = "resnet50"
  c.encoder.start = "lecun"
  c.encoder.zero_init_gamma = True

  c.method.name = "simclr"
  c.method.temperature = 0.1
  c.method.projector = dict(
    layers=2,
    hidden=2048,
    out=128,
    hidden_bias=False,
    out_bias=False,
    last_norm="scale",
    init_std=0.01,
  )

  c.optimizer.name = "lars"
  c.optimizer.classic_momentum = True  # the learning rate inside the momentum
  c.optimizer.learning_rate = dict(kind="cosine", base=0.3, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-6
  c.optimizer.exclude = ("norm_and_bias",)
  c.evals.probe.learning_rate = 1e-3
  return common.finish(c, variant)
