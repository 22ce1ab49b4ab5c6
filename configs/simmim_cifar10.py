"""SimMIM on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels, six tenths hidden.

    python run.py --config configs/simmim_cifar10.py
    python run.py --config configs/simmim_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `simmim_imagenet` with squares of 8 pixels
and a smaller batch. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 800

  c.augment.recipe = "simmim"
  c.augment.size = 32
  c.augment.patch_size = 4
  c.augment.mask_unit = 8
  common.cifar10_statistics(c)

  c.encoder.name = "vit_ti"
  c.encoder.position = "sincos_columns"
  c.encoder.patch_size = 4
  c.encoder.mask_token = True
  c.encoder.pool = "mean"

  c.method.name = "simmim"
  c.method.decoder = dict(depth=0)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1e-4, warmup_epochs=10)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias", "^encoder/cls", "^encoder/mask")
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.depth = 6
  return common.finish(c, variant, "cpu")
