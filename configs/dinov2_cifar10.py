"""DINOv2 on CIFAR-10: a ViT-Ti of 64 patches of 4 x 4 pixels, 2 + 8 crops.

    python run.py --config configs/dinov2_cifar10.py
    python run.py --config configs/dinov2_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: the numbers are those of `dinov2_imagenet:small` with smaller patches,
crops and heads, and without blur. Ours: not yet run in full; `:cpu` kNN 43.8 (random
encoder 31.5). The reduced forms have MAE's fixed positions, BatchNorm in their heads
and LayerScale at 0.1.
"""

from configs import common

WARM = dict(kind="warmup", start=0.04, base=0.07, warmup_epochs=30, inclusive=True)


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 200

  c.augment.recipe = "dinov2"
  c.augment.size = 32
  c.augment.local_size = 16
  c.augment.blur_p = 0.0
  c.augment.patch_size = 4

  c.encoder.name = "vit_ti"
  c.encoder.patch_size = 4
  c.encoder.position = "learned"
  c.encoder.image_size = 32
  c.encoder.mask_token = True
  c.encoder.layer_scale = 1e-5
  c.encoder.registers = 4
  c.encoder.drop_path = 0.1
  c.encoder.drop_path_uniform = True

  c.method.name = "dinov2"
  c.method.student_temperature = 0.1
  c.method.teacher_temperature = dict(WARM)
  c.method.patch_temperature = dict(WARM)
  c.method.centre_momentum = 0.9
  c.method.patch_centre_momentum = 0.9
  c.method.tau = dict(kind="cosine", base=0.992, end=1.0)
  c.method.class_weight = 1.0
  c.method.patch_weight = 1.0
  c.method.koleo_weight = 0.1
  c.method.koleo_group = 0  # the batch
  c.method.sinkhorn = 3
  head = dict(
    layers=3, hidden=2048, out=256, norm=False, activation="gelu", init_std=0.02
  )
  c.method.projector = head
  c.method.prototypes = dict(num=4096, gain=True)
  c.method.patch_projector = dict(head)
  c.method.patch_prototypes = dict(num=4096, gain=True)

  rate = dict(
    kind="cosine", base=0.004 / 32, end=1e-6, warmup_epochs=10, inclusive=True
  )
  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = rate
  c.optimizer.scaling = "sqrt"  # 0.004 at 1024 pictures
  c.optimizer.groups = {
    "^encoder/patch/": {
      "learning_rate": {**rate, "base": rate["base"] / 5, "end": 2e-7}
    }
  }
  c.optimizer.layer_decay = 0.9
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias",)
  c.optimizer.clip_norm = 3.0
  c.optimizer.freeze_until = {"prototypes": 1}  # epochs
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.width = 96  # a transformer's cost is not in its width alone
    c.encoder.update(depth=4, patch_size=8)
    c.augment.update(local_views=2, patch_size=8, crop_min=0.5)
    c.method.tau.base = 0.98
    for temperature in ("teacher_temperature", "patch_temperature"):
      c.method[temperature].update(start=0.025, base=0.025)  # MSN's; else it is flat
    c.optimizer.learning_rate.base = 3e-3
    c.optimizer.freeze_until = {"prototypes": 1.0}  # epochs
    for role in ("prototypes", "patch_prototypes"):
      c.method[role].num = 512
  if variant in ("cpu", "smoke"):  # else all class tokens agree in the first steps
    c.encoder.position = "sincos_columns"  # kernels start by their width
    c.encoder.layer_scale = 0.1
    for role in ("projector", "patch_projector"):
      del c.method[role].init_std
      c.method[role].norm = True
      if variant == "cpu":
        c.method[role].update(hidden=256, out=64, last_norm="plain")
  return common.finish(c, variant, "cpu")
