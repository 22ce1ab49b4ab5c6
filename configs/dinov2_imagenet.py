"""DINOv2 on ImageNet (Oquab et al. 2023): ViT-L/16, the official short schedule.

    python run.py --config configs/dinov2_imagenet.py
    python run.py --config configs/dinov2_imagenet.py:rope
    python run.py --config configs/dinov2_imagenet.py:small

Official, of 100 "epochs" of 1250 steps of 32 x 64 pictures, which are 200 of ImageNet:
kNN 81.6, linear 82.9. `:rope` is that of DINOv3's code on ImageNet alone, with rotary
positions, heads apart and even assignments: 82.2 and 83.3. Ours: not yet run. `:small`
is a ViT-S/14 with four registers and the ways of its large models, heads apart and even
assignments, on one GPU; not published, where a ViT-S/14 is distilled.

Drop path leaves residuals out picture by picture, not a share of the batch; the
gradient is clipped as a whole, not that of encoder and heads each.
"""

from configs import common

WARM = dict(kind="warmup", start=0.04, base=0.07, warmup_epochs=60, inclusive=True)


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  small = variant == "small"
  apart = small or variant == "rope"
  c.batch_size = 512 if small else 2048
  c.epochs = 100 if small else 200

  c.augment.recipe = "dinov2"
  c.augment.size = 224
  c.augment.local_size = 98 if small else 96
  c.augment.patch_size = 14 if small else 16

  c.encoder.name = "vit_s" if small else "vit_l"
  c.encoder.patch_size = 14 if small else 16
  c.encoder.position = "rope" if variant == "rope" else "learned"
  c.encoder.mask_token = True
  c.encoder.layer_scale = 1e-5
  c.encoder.registers = 4 if small else 0
  c.encoder.drop_path = 0.1 if small else 0.3
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
  c.method.koleo_group = 64  # of a GPU there
  c.method.sinkhorn = 3 if apart else 0
  head = dict(
    layers=3, hidden=2048, out=256, norm=False, activation="gelu", init_std=0.02
  )
  c.method.projector = head
  count = 32768 if small else 65536
  c.method.prototypes = dict(num=count, gain=True)
  c.method.patch_projector = dict(head) if apart else "projector"
  c.method.patch_prototypes = dict(num=count, gain=True) if apart else "prototypes"

  rate = dict(
    kind="cosine", base=0.004 / 32, end=1e-6, warmup_epochs=20, inclusive=True
  )
  if small:
    c.method.teacher_temperature.warmup_epochs = 30
    c.method.patch_temperature.warmup_epochs = 30
    rate["warmup_epochs"] = 10
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
  c.optimizer.freeze_until = {"prototypes": 1 if small else 2}  # epochs
  return common.finish(c, variant, "rope", "small")
