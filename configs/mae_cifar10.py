"""MAE on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels, 16 of them seen.

    python run.py --config configs/mae_cifar10.py
    python run.py --config configs/mae_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `mae_imagenet` with a smaller decoder and
batch, and a longer warm-up. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 1000

  c.augment.recipe = "mae"
  c.augment.size = 32
  common.cifar10_statistics(c)

  c.encoder.name = "vit_ti"
  c.encoder.position = "sincos_columns"
  c.encoder.patch_size = 4
  c.encoder.pool = "mean"

  c.method.name = "mae"
  c.method.mask_ratio = 0.75
  c.method.norm_pix = True
  c.method.decoder = dict(width=128, depth=4, heads=4)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1.5e-4, warmup_epochs=100)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.depth = 6
    c.method.decoder.update(width=64, depth=2)
  return common.finish(c, variant, "cpu")
