"""I-JEPA on ImageNet (Assran et al. 2023): ViT-B/16, and the published ViT-H/14.

    python run.py --config configs/ijepa_imagenet.py
    python run.py --config configs/ijepa_imagenet.py:huge

Paper, linear: 72.9 after 600 epochs, `:huge` 79.3 after 300. Ours: not yet run.
The official code has a file for `:huge` alone; of the ViT-B/16 the paper gives epochs
and the predictor's depth, all else is as there. Blocks are drawn by picture and not by
batch (`masks.Multiblock`), and warm-up and decay are one step behind.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  huge = variant == "huge"
  c.batch_size = 2048
  c.epochs = 300 if huge else 600

  c.augment.recipe = "ijepa"
  c.augment.size = 224
  c.augment.patch_size = 14 if huge else 16

  c.encoder.name = "vit_h" if huge else "vit_b"
  c.encoder.patch_size = 14 if huge else 16
  c.encoder.position = "sincos_columns"
  c.encoder.class_token = False
  c.encoder.pool = "mean"
  c.encoder.init_std = 0.02

  c.method.name = "ijepa"
  c.method.tau = dict(kind="linear", base=0.996, end=1.0)
  c.method.patch_predictor = dict(
    width=384, depth=12 if huge else 6, heads=16 if huge else 12
  )

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=1e-3, start=2e-4, end=1e-6, warmup_epochs=40
  )
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias",)
  return common.finish(c, variant, "huge")
