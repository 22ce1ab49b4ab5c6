"""MoCo v3 on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/moco_v3_folder.py --config.data.dir=~/photos
    python run.py --config configs/moco_v3_folder.py:continue --config.data.dir=~/photos
    python run.py --config configs/moco_v3_folder.py:cheap --config.data.dir=~/photos

ViT-S/16 of 12 heads at 224 pixels, for ten thousand pictures and more on one GPU.
`:continue` goes on from the run in runs/start, such as a loaded file (docs/weights.md),
and is for hundreds to a hundred thousand. The heads must be those of the start: MoCo
v3's ViT-S has 12, others' 6 (`--config.encoder.heads=6`). `:cheap` learns from half of
the patches, of smaller views until three quarters of the run (docs/running.md).

Not from a paper: the numbers are those of `moco_v3_imagenet_vit` with a smaller batch,
narrower heads and `simclr_folder`'s milder crops. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.vit_folder(c)

  c.augment.recipe = "byol"
  c.augment.size = 224
  c.augment.interpolation = "bilinear"
  c.augment.crop_min = 0.2  # few pictures need less distortion than ImageNet's

  c.encoder.heads = 12
  c.encoder.stop_grad_patch = True

  c.method.name = "moco_v3"
  c.method.temperature = 0.2
  c.method.momentum = dict(kind="cosine", base=0.99, end=1.0)
  head = dict(
    hidden=2048, out=256, hidden_bias=False, out_bias=False, last_norm="plain"
  )
  c.method.projector = dict(layers=3, **head)
  c.method.predictor = dict(layers=2, **head)

  c.watch = ("^encoder/patch/",)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1.5e-4, warmup_epochs=40)
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = 0.1  # of scales and biases too
  c.optimizer.frozen = ("^encoder/patch/",)  # or decay would move it
  if variant == "continue":
    common.continued(c, "^projector/", "^predictor/")
    common.frozen_patches(c, "position$")
  if variant == "cheap":
    c.encoder.token_drop = 0.5
    c.resolution = ((0.5, 112), (0.75, 160))
  return common.finish(c, variant, "continue", "cheap")
