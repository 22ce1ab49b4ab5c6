"""MoCo v3 on ImageNet (Chen et al. 2021): ViT-S/16 of 12 heads, AdamW, 300 epochs.

    python run.py --config configs/moco_v3_imagenet_vit.py
    python run.py --config configs/moco_v3_imagenet_vit.py --config.encoder.name=vit_b
    python run.py --config configs/moco_v3_imagenet_vit.py:learned_patch

Official: linear 73.2; ViT-B/16 76.7. The patch projection stays as it was drawn
(section 4.2); the third command lets it learn, with the spikes of section 4.1 to be
seen in `grad_norm/encoder/patch`. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 300

  c.augment.recipe = "byol"
  c.augment.size = 224
  c.augment.interpolation = "bilinear"

  c.encoder.name = "vit_s"
  c.encoder.heads = 12
  c.encoder.patch_size = 16
  c.encoder.stop_grad_patch = variant != "learned_patch"

  c.method.name = "moco_v3"
  c.method.temperature = 0.2
  c.method.momentum = dict(kind="cosine", base=0.99, end=1.0)
  head = dict(
    hidden=4096, out=256, hidden_bias=False, out_bias=False, last_norm="plain"
  )
  c.method.projector = dict(layers=3, **head)
  c.method.predictor = dict(layers=2, **head)

  c.watch = ("^encoder/patch/",)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1.5e-4, warmup_epochs=40)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = 0.1  # of scales and biases too
  if variant != "learned_patch":
    c.optimizer.frozen = ("^encoder/patch/",)  # or decay would move it
  return common.finish(c, variant, "learned_patch")
