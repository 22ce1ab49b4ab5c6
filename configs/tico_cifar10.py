"""TiCo on CIFAR-10, with the numbers of lightly's Imagenette benchmark.

    python run.py --config configs/tico_cifar10.py
    python run.py --config configs/tico_cifar10.py:flowing
    python run.py --config configs/tico_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: TiCo was published on ImageNet. lightly: kNN 85.6 on Imagenette (batch
256, 800 epochs, 128 pixels, k = 200), when its loss let the gradient pass through the
batch's part of the covariance: `:flowing`; it stops it since. The views are BYOL's, as
in lightly's ImageNet run. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 256
  c.epochs = 800

  c.augment.recipe = "byol"
  c.augment.size = 32
  c.augment.interpolation = "bilinear"
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "tico"
  c.method.rho = 20.0
  c.method.covariance_momentum = 0.9
  by_epoch = dict(kind="cosine", per="epoch", to_last=True)
  c.method.tau = dict(base=0.996, end=1.0, **by_epoch)
  c.method.projector = dict(layers=2, hidden=1024, out=256, hidden_bias=False)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    base=0.3, start=0.3 / 40, warmup_epochs=40, inclusive=True, **by_epoch
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  c.method.covariance_gradient = variant == "flowing"
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
    c.method.tau.base = 0.9  # of one epoch: constant, and quick as the run is short
    c.method.projector.update(hidden=512, out=128)
  return common.finish(c, variant, "flowing", "cpu")
