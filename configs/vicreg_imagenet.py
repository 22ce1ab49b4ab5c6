"""VICReg on ImageNet (Bardes et al. 2022): ResNet-50, 2048 pictures a step.

    python run.py --config configs/vicreg_imagenet.py

Paper: linear 73.2 (1000 epochs). The official README's run of 100 epochs takes a batch
of 512 and base 0.3. The views are the official code's, BYOL's pair; the paper's
appendix has one kind of view, with blur in half and solarize in a tenth of all cases.
Ours: not yet run.
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

  c.method.name = "vicreg"
  c.method.update(invariance=25.0, variance=25.0, covariance=1.0)
  c.method.projector = dict(layers=3, hidden=8192, out=8192, out_bias=False)

  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(
    kind="cosine",
    base=0.2,
    end=1.6e-3,  # a thousandth of base batch_size / 256
    warmup_epochs=10,
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-6
  c.optimizer.exclude = ("norm_and_bias",)
  c.evals.interpolation = "bilinear"  # though crops are bicubic
  return common.finish(c, variant)
