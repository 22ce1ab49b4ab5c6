"""MAE on ImageNet (He et al. 2022): ViT-B/16, the official code's 800 epochs.

    python run.py --config configs/mae_imagenet.py
    python run.py --config configs/mae_imagenet.py --config.encoder.name=vit_l

Official: fine-tuned 83.6, linear 67.8 (ViT-L: 85.9, 76.0), those after 1600 epochs.
Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 800

  c.augment.recipe = "mae"
  c.augment.size = 224

  c.encoder.name = "vit_b"
  c.encoder.position = "sincos_columns"
  c.encoder.patch_size = 16

  c.method.name = "mae"
  c.method.mask_ratio = 0.75
  c.method.norm_pix = True
  c.method.decoder = dict(width=512, depth=8, heads=16)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1.5e-4, warmup_epochs=40)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias",)
  return common.finish(c, variant)
