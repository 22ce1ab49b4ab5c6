"""MoCo v3 on CIFAR-10: ResNet-18, with SimCLR's optimizer for CIFAR-10.

    python run.py --config configs/moco_v3_cifar10.py
    python run.py --config configs/moco_v3_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: MoCo v3 was published on ImageNet. solo-learn's own recipe: 93.1
(online linear head, 1000 epochs). Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 1000

  c.augment.recipe = "byol"
  c.augment.size = 32
  c.augment.crop_min = 0.2
  c.augment.interpolation = "bilinear"
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "moco_v3"
  c.method.temperature = 0.2
  c.method.momentum = dict(kind="cosine", base=0.99, end=1.0)
  c.method.projector = dict(
    layers=2,
    hidden=4096,
    out=256,
    hidden_bias=False,
    out_bias=False,
    last_norm="plain",
  )
  c.method.predictor = dict(
    layers=2, hidden=4096, out=256, hidden_bias=False, out_bias=False
  )

  c.watch = ("^encoder/conv1/",)

  c.optimizer.name = "lars"
  c.optimizer.learning_rate = dict(kind="cosine", base=1.0, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.method.momentum.base = 0.98
    c.method.projector.update(hidden=512, out=128)
    c.method.predictor.update(hidden=512, out=128)
  return common.finish(c, variant, "cpu")
