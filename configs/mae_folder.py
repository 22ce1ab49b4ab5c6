"""MAE on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/mae_folder.py --config.data.dir=~/photos
    python run.py --config configs/mae_folder.py:continue --config.data.dir=~/photos

ViT-S/16 at 224 pixels, for ten thousand pictures and more on one GPU. `:continue` goes
on from the run in runs/start, such as a loaded file (docs/weights.md), and is for
hundreds to a hundred thousand; it takes a ViT-B, the smallest that MAE's authors
released.

Not from a paper: the numbers are those of `mae_imagenet` with a smaller batch and, but
for `:continue`, a smaller decoder. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.vit_folder(c)
  c.epochs = 800

  c.augment.recipe = "mae"
  c.augment.size = 224

  c.encoder.position = "sincos_columns"
  c.encoder.pool = "mean"  # of patches: no loss asks anything of the class token

  c.method.name = "mae"
  c.method.mask_ratio = 0.75
  c.method.norm_pix = True
  c.method.decoder = dict(width=256, depth=4, heads=8)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1.5e-4, warmup_epochs=40)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.b2 = 0.95
  c.optimizer.weight_decay = 0.05
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "continue":
    c.encoder.name = "vit_b"
    c.method.decoder = dict(width=512, depth=8, heads=16)
    common.continued(c, "^decoder/")
    common.frozen_patches(c, "position$")
  return common.finish(c, variant, "continue")
