"""SimCLR on CIFAR-10 (Chen et al. 2020, appendix B.9), as the official README runs it.

    python run.py --config configs/simclr_cifar10.py
    python run.py --config configs/simclr_cifar10.py:cpu    # reduced, without a GPU
    python run.py --config configs/simclr_cifar10.py:convnext    # another encoder
    python run.py --config configs/simclr_cifar10.py:swin
    python run.py --config configs/simclr_cifar10.py:wide

Three layers of head are the README's default, the paper has two (`:cpu` too, with
torchvision's views and start). Official README: linear 91 (ResNet-18, 1000 epochs);
paper: 94.0 (ResNet-50).
Ours: not yet run in full; `:cpu` kNN 50.3 (random encoder 30.6, centred pixels 41.2).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 1000

  common.simclr_pictures(c)
  c.augment.size = 32
  c.augment.jitter = (0.4, 0.4, 0.4, 0.1)  # strength 0.5
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"
  c.encoder.start = "lecun"
  c.encoder.zero_init_gamma = True

  c.method.name = "simclr"
  c.method.temperature = 0.5
  c.method.projector = dict(
    layers=3,
    hidden=512,
    out=128,
    hidden_bias=False,
    out_bias=False,
    last_norm="scale",
    init_std=0.01,
  )

  c.optimizer.name = "lars"
  c.optimizer.classic_momentum = True  # the learning rate inside the momentum
  c.optimizer.learning_rate = dict(kind="cosine", base=1.0, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  c.optimizer.exclude = ("norm_and_bias",)
  c.evals.probe.learning_rate = 1e-3
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=3)
    c.optimizer.learning_rate.warmup_epochs = 0.5
    c.method.projector.layers = 2  # the paper's
    c.method.temperature = 0.2  # 0.5 learns too slowly for so short a run
    c.augment.crop_min = 0.2
    c.evals.probe.learning_rate = 0.0
  if variant in common.BACKBONES:
    c.encoder = ConfigDict(common.BACKBONES[variant])
  return common.finish(c, variant, "cpu", *common.BACKBONES)
