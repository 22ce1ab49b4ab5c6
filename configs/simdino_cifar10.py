"""SimDINO on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels, 2 + 8 crops.

    python run.py --config configs/simdino_cifar10.py
    python run.py --config configs/simdino_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `simdino_imagenet` with smaller patches,
crops, head and batch, and without blur. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 200

  c.augment.recipe = "dino"
  c.augment.size = 32
  c.augment.local_size = 16
  c.augment.blur_p = 0.0

  c.encoder.name = "vit_ti"
  c.encoder.patch_size = 4
  c.encoder.position = "sincos_columns"

  c.method.name = "simdino"
  c.method.agreement = 1.0
  c.method.epsilon = 0.05
  c.method.tau = dict(kind="cosine", base=0.996, end=1.0)
  c.method.projector = dict(
    layers=3, hidden=2048, out=256, norm=False, activation="gelu"
  )

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=5e-4, end=1e-6, warmup_epochs=10, inclusive=True
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias",)
  c.optimizer.clip_per_parameter = 3.0
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.update(depth=4, patch_size=8)
    c.augment.local_views = 2
    c.method.tau.base = 0.98
    c.method.projector.update(hidden=256, out=64, norm=True)
  return common.finish(c, variant, "cpu")
