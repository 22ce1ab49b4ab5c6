"""MSN on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels, 2 + 10 views.

    python run.py --config configs/msn_cifar10.py
    python run.py --config configs/msn_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `msn_imagenet` with smaller patches, views
and batch, fewer prototypes, and without blur. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 800

  c.augment.recipe = "msn"
  c.augment.size = 32
  c.augment.local_size = 16
  c.augment.blur_p = 0.0

  c.encoder.name = "vit_ti"
  c.encoder.patch_size = 4
  c.encoder.position = "sincos_columns"

  c.method.name = "msn"
  c.method.temperature = 0.1
  c.method.sharpening = 0.25
  c.method.tau = dict(kind="linear", base=0.996, end=1.0)
  c.method.patch_drop = 0.15
  c.method.me_max = 1.0
  c.method.entropy = 0.0
  c.method.iterations = 3
  c.method.projector = dict(layers=3, hidden=2048, out=256, activation="gelu")
  c.method.prototypes = dict(num=256)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=1e-3, start=2e-4, end=1e-6, warmup_epochs=15
  )
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias", "^prototypes")
  c.optimizer.clip_norm = 3.0
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.update(depth=4, patch_size=8)
    c.augment.local_views = 2
    c.method.tau.base = 0.98
    c.method.projector.update(hidden=256, out=64)
    c.method.prototypes.num = 128
  return common.finish(c, variant, "cpu")
