"""VICReg on CIFAR-10, with the numbers of lightly's Imagenette benchmark.

    python run.py --config configs/vicreg_cifar10.py
    python run.py --config configs/vicreg_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: VICReg was published on ImageNet. lightly: kNN 84.5 on Imagenette
(batch 256, 800 epochs, 128 pixels, k = 200); there LARS spares no parameter.
solo-learn: 92.07 on CIFAR-10 (1000 epochs, online linear head), with another form of
LARS. The views are those of the paper's appendix without blur. Ours: not yet run in
full.
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
  c.augment.solarize_p = 0.1  # in both views

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "vicreg"
  c.method.update(invariance=25.0, variance=25.0, covariance=1.0)
  c.method.projector = dict(layers=3, hidden=2048, out=2048, hidden_bias=False)

  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(
    kind="cosine",
    base=0.3,
    start=0.3 / 40,
    warmup_epochs=40,
    per="epoch",
    inclusive=True,
    to_last=True,
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
    c.method.projector.update(layers=2, hidden=512, out=512)
  return common.finish(c, variant, "cpu")
