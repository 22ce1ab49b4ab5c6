"""iBOT on ImageNet (Zhou et al. 2022): ViT-S/16, the official 800 epochs.

    python run.py --config configs/ibot_imagenet.py
    python run.py --config configs/ibot_imagenet.py:vit_base

Official: kNN 75.2, linear 77.9, fine-tuned 82.3; `:vit_base`, 400 epochs: 77.1, 79.5
and 84.0, with masks of blocks. Ours: not yet run. The arguments of ViT-S are those of
the official README. Those of ViT-B are in a file that could not be read: these are the
commands of works that start from it (SERE, HSSL), whose crops, heads and rates agree.

The mask token starts as a normal variate and not at 0; blocks are drawn as
`masks.blocks` says, and cover what was asked where the official ones may cover less.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  base = variant == "vit_base"
  c.batch_size = 1024
  c.epochs = 400 if base else 800

  c.augment.recipe = "ibot"
  c.augment.size = 224
  c.augment.local_size = 96
  c.augment.local_views = 10
  c.augment.patch_size = 16
  if base:
    c.augment.crop_min = c.augment.local_crop_max = 0.32  # 0.25 of ViT-S

  c.encoder.name = "vit_b" if base else "vit_s"
  c.encoder.patch_size = 16
  c.encoder.position = "learned"
  c.encoder.mask_token = True
  c.encoder.drop_path = 0.1

  warm = dict(
    kind="warmup", start=0.04, base=0.07, warmup_epochs=30, per="epoch", inclusive=True
  )
  if base:
    warm["warmup_epochs"] = 50
  c.method.name = "ibot"
  c.method.student_temperature = 0.1
  c.method.teacher_temperature = dict(warm)
  c.method.patch_temperature = dict(warm)
  c.method.centre_momentum = 0.9
  c.method.patch_centre_momentum = 0.9
  c.method.tau = dict(kind="cosine", base=0.996, end=1.0)
  c.method.class_weight = 1.0
  c.method.patch_weight = 1.0
  c.method.projector = dict(
    layers=3, hidden=2048, out=256, norm=False, activation="gelu", init_std=0.02
  )
  c.method.prototypes = dict(num=8192, gain=not base)
  c.method.patch_projector = "projector"
  c.method.patch_prototypes = "prototypes"

  c.optimizer.name = "adamw"
  rate, end = (7.5e-4, 2e-6) if base else (5e-4, 1e-6)
  c.optimizer.learning_rate = dict(
    kind="cosine", base=rate, end=end, warmup_epochs=10, inclusive=True
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias",)
  c.optimizer.clip_per_parameter = 0.3 if base else 3.0
  c.optimizer.freeze_until = {"prototypes": 3 if base else 1}  # epochs
  c.evals.knn.k = 20
  if variant == "smoke":  # else all class tokens agree in the first steps
    c.encoder.position = "sincos_columns"  # kernels start by their width
    del c.method.projector.init_std
    c.method.projector.norm = True  # the official `norm_in_head`
  return common.finish(c, variant, "vit_base")
