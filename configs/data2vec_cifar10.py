"""data2vec on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels.

    python run.py --config configs/data2vec_cifar10.py
    python run.py --config configs/data2vec_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `data2vec_imagenet` with a smaller batch and
without LayerScale. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 800

  c.augment.recipe = "data2vec"
  c.augment.size = 32
  c.augment.patch_size = 4
  common.cifar10_statistics(c)

  c.encoder.name = "vit_ti"
  c.encoder.position = "sincos_columns"
  c.encoder.patch_size = 4
  c.encoder.mask_token = True
  c.encoder.pool = "mean"

  c.method.name = "data2vec"
  c.method.blocks = 6
  c.method.beta = 2.0
  c.method.tau = dict(kind="linear", base=0.999, end=0.9998)
  c.method.patch_projector = dict(layers=1, out=192)  # the encoder's width

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=5e-4, end=1e-5, warmup_epochs=10)
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias", "^encoder/cls", "^encoder/mask")
  c.optimizer.clip_norm = 3.0
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.depth = 6
    c.method.blocks = 3
    c.method.tau.update(base=0.98, end=0.998)
  c = common.finish(c, variant, "cpu")
  c.method.patch_projector.out = c.encoder.get("width", 192)
  return c
