"""I-JEPA on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels.

    python run.py --config configs/ijepa_cifar10.py
    python run.py --config configs/ijepa_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `ijepa_imagenet` with a smaller predictor
and batch. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 600

  c.augment.recipe = "ijepa"
  c.augment.size = 32
  c.augment.patch_size = 4
  common.cifar10_statistics(c)

  c.encoder.name = "vit_ti"
  c.encoder.position = "sincos_columns"
  c.encoder.patch_size = 4
  c.encoder.class_token = False
  c.encoder.pool = "mean"
  c.encoder.init_std = 0.02

  c.method.name = "ijepa"
  c.method.tau = dict(kind="linear", base=0.996, end=1.0)
  c.method.patch_predictor = dict(width=96, depth=4, heads=3)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=1e-3, start=2e-4, end=1e-6, warmup_epochs=40
  )
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.depth = 6
    c.method.tau.base = 0.98
    c.method.patch_predictor.update(width=64, depth=2, heads=2)
  if variant in ("cpu", "smoke"):
    del c.encoder.init_std  # kernels start by their width
  return common.finish(c, variant, "cpu")
