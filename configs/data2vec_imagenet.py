"""data2vec on ImageNet (Baevski et al. 2022): ViT-B/16, the official 800 epochs.

    python run.py --config configs/data2vec_imagenet.py

Paper: fine-tuned 84.2. Ours: not yet run. There attention has
dropout of 0.05, and the loss a factor 1 / sqrt(768); here blocks are drawn as
`masks.blocks` says. The teacher's decay grows in a line over the whole run, there to
its last value at once.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 2048
  c.epochs = 800

  c.augment.recipe = "data2vec"
  c.augment.size = 224
  c.augment.patch_size = 16

  c.encoder.name = "vit_b"
  c.encoder.position = "relative"
  c.encoder.patch_size = 16
  c.encoder.mask_token = True
  c.encoder.pool = "mean"
  c.encoder.layer_scale = 1e-4
  c.encoder.drop_path = 0.25
  c.encoder.init_std = 0.02

  c.method.name = "data2vec"
  c.method.blocks = 6
  c.method.beta = 2.0
  c.method.tau = dict(kind="linear", base=0.999, end=0.9998)
  c.method.patch_projector = dict(layers=1, out=768, init_std=0.02)  # the width

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=2e-3, end=1e-5, warmup_epochs=10)
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias", "^encoder/cls", "^encoder/mask")
  c.optimizer.clip_norm = 3.0
  c = common.finish(c, variant)
  c.method.patch_projector.out = c.encoder.get("width", 768)
  return c
