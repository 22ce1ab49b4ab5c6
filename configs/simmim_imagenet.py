"""SimMIM on ImageNet (Xie et al. 2022): ViT-B/16, the official 800 epochs.

    python run.py --config configs/simmim_imagenet.py

Paper: fine-tuned 83.8, linear 56.7. Ours: not yet run. Warm-up starts at a step's
share, not at 2e-6, and the last kernels of a block not smaller the deeper it stands.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 2048
  c.epochs = 800

  c.augment.recipe = "simmim"
  c.augment.size = 224
  c.augment.patch_size = 16
  c.augment.mask_unit = 32

  c.encoder.name = "vit_b"
  c.encoder.position = "relative"
  c.encoder.patch_size = 16
  c.encoder.mask_token = True
  c.encoder.drop_path = 0.1
  c.encoder.init_std = 0.02

  c.method.name = "simmim"
  c.method.decoder = dict(depth=0)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="steps", base=5e-5, milestones=(700,), factor=0.1, warmup_epochs=10
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias", "^encoder/cls", "^encoder/mask")
  c.optimizer.clip_norm = 5.0
  return common.finish(c, variant)
