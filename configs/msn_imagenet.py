"""MSN on ImageNet (Assran et al. 2022): ViT-S/16, the official 800 epochs.

    python run.py --config configs/msn_imagenet.py

Paper: linear 76.9. Ours: not yet run. Schedules run to their
end, which there is a quarter of the run behind it; patches are left out picture by
picture; the gradient is clipped together with that of the prototypes.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 1024
  c.epochs = 800

  c.augment.recipe = "msn"
  c.augment.size = 224
  c.augment.local_size = 96

  c.encoder.name = "vit_s"
  c.encoder.patch_size = 16
  c.encoder.position = "learned"
  c.encoder.resize = "bicubic"  # without DINO's tenth of a patch

  c.method.name = "msn"
  c.method.temperature = 0.1
  c.method.sharpening = 0.25
  c.method.tau = dict(kind="linear", base=0.996, end=1.0)
  c.method.patch_drop = 0.15
  c.method.me_max = 1.0
  c.method.entropy = 0.0
  c.method.iterations = 3
  c.method.projector = dict(
    layers=3, hidden=2048, out=256, activation="gelu", init_std=0.02
  )
  c.method.prototypes = dict(num=1024)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=1e-3, start=2e-4, end=1e-6, warmup_epochs=15
  )
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias", "^prototypes")
  c.optimizer.clip_norm = 3.0
  return common.finish(c, variant)
