"""SupCon on CIFAR-10 (Khosla et al. 2020), as the official repository runs it.

    python run.py --config configs/supcon_cifar10.py
    python run.py --config configs/supcon_cifar10.py:simclr # the same without labels
    python run.py --config configs/supcon_cifar10.py:cpu    # reduced, without a GPU

Paper: linear 96.0; SimCLR 93.6; cross-entropy 95.0 (ResNet-50). Its BatchNorm has the
statistics of one GPU of several, ours those of the batch. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 1024
  c.epochs = 1000

  c.augment.recipe = "simclr"
  c.augment.size = 32
  c.augment.interpolation = "bilinear"
  c.augment.crop_min = 0.2
  c.augment.jitter = (0.4, 0.4, 0.4, 0.1)
  c.augment.blur_p = 0.0
  common.cifar10_statistics(c)

  c.encoder.name = "resnet50"
  c.encoder.stem = "cifar"

  c.method.name = "supcon"
  c.method.temperature = 0.1
  c.method.base_temperature = 0.07
  c.method.labels = True
  c.method.contrast_mode = "all"
  c.method.projector = dict(layers=2, hidden=2048, out=128, norm=False)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="epoch_cosine", base=0.5, end=0.0005, start=0.01, warmup_epochs=10
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  if variant == "simclr":
    c.method.labels = False
    c.method.temperature = 0.5
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.name = "resnet18"
    c.method.projector.update(hidden=512)
    c.method.temperature = 0.2
  if variant in ("cpu", "smoke"):
    # MoCo v3's head: a short run else stays where all embeddings start.
    c.method.projector.update(norm=True, last_norm="plain", out_bias=False)
  return common.finish(c, variant, "simclr", "cpu")
