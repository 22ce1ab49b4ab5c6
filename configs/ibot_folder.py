"""iBOT on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/ibot_folder.py --config.data.dir=~/photos
    python run.py --config configs/ibot_folder.py:few --config.data.dir=~/photos

ViT-S/16 at 224 pixels, for twenty thousand pictures and more on one GPU; `:few` for
less: docs/data.md says which numbers follow how many.

Not from a paper: the numbers are those of `ibot_imagenet`, with fewer crops and what
`dino_folder` has for small data: 2048 prototypes, of length 1, a teacher that is
quicker and sharper. Ours: not yet run.
"""

from configs import common, ibot_imagenet


def get_config(variant: str = ""):
  c = ibot_imagenet.get_config("smoke" if variant == "smoke" else "")
  common.vit_folder(c)
  c.checkpoint.every_steps = 1000
  c.augment.local_views = 8
  c.method.tau.base = 0.99
  c.method.prototypes.update(num=2048, gain=False)
  temperature = 0.04
  if variant == "few":
    common.few(c)
    c.method.prototypes.num = 1024
    temperature = 0.02
  for role in ("teacher_temperature", "patch_temperature"):
    c.method[role].update(start=temperature, base=temperature)
  return common.finish(c, variant, "few")
