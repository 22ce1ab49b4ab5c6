"""LeJEPA on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/lejepa_folder.py --config.data.dir=~/photos
    python run.py --config configs/lejepa_folder.py:few --config.data.dir=~/photos

ViT-S/16 at 224 pixels, for ten thousand pictures and more on one GPU; `:few` for less.
There is no teacher, no prototype and no schedule but the rate's to fit to how many.

Not from a paper: views, slices, rate and decay are those of LeJEPA's README, for ViTs
of any data; batch, weight and projection those of its example on the 9,469 pictures of
Imagenette (`lejepa_imagenette`). Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.vit_folder(c)

  c.augment.recipe = "dino"
  c.augment.size = 224
  c.augment.crop_min = 0.3
  c.augment.local_views = 6
  c.augment.local_size = 96  # 98 there, of patches of 14
  c.augment.local_crop_min = 0.05
  c.augment.local_crop_max = 0.3
  c.augment.interpolation = "bilinear"
  c.augment.blur_p = 0.5
  c.augment.solarize_p = 0.2  # in all views

  c.encoder.position = "learned"
  c.encoder.drop_path = 0.1

  c.method.name = "lejepa"
  c.method.weight = 0.02
  c.method.slices = 1024
  c.method.projector = dict(layers=3, hidden=2048, out=16)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=5e-4, end=5e-7, start=5e-6, warmup_epochs=10
  )
  c.optimizer.weight_decay = 0.05
  if variant == "few":
    common.few(c)
    c.method.weight = 0.04  # half the batch halves SIGReg
  return common.finish(c, variant, "few")
