"""DINO on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/dino_folder.py --config.data.dir=~/photos
    python run.py --config configs/dino_folder.py:few --config.data.dir=~/photos
    python run.py --config configs/dino_folder.py:continue --config.data.dir=~/photos

ViT-S/16 at 224 pixels, for twenty thousand pictures and more on one GPU; `:few` for
less: docs/data.md says which numbers follow how many. `:continue` goes on from the run
in runs/start, such as a loaded file, and is for hundreds to a hundred thousand; what it
does otherwise, and after whom: docs/weights.md.

Not from a paper: the numbers are those of `dino_imagenet`, with fewer prototypes and a
quicker, sharper teacher after lightly-train's defaults for small data (2048 of them for
20,000 to 50,000 pictures, momentum from 0.99). Ours: not yet run.
"""

from configs import common

SHARPER = dict(
  kind="warmup", start=0.02, base=0.04, warmup_epochs=3, per="epoch", inclusive=True
)


def get_config(variant: str = ""):
  c = common.base()
  common.vit_folder(c)

  c.augment.recipe = "dino"
  c.augment.size = 224
  c.augment.local_size = 96
  c.augment.local_views = 8

  c.encoder.position = "learned"
  c.encoder.drop_path = 0.1

  c.method.name = "dino"
  c.method.student_temperature = 0.1
  c.method.teacher_temperature = SHARPER if variant == "continue" else 0.04
  c.method.centre_momentum = 0.9
  c.method.tau = dict(kind="cosine", base=0.99, end=1.0)
  c.method.projector = dict(
    layers=3, hidden=2048, out=256, norm=False, activation="gelu", init_std=0.02
  )
  c.method.prototypes = dict(num=2048)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="cosine", base=5e-4, end=1e-6, warmup_epochs=10, inclusive=True
  )
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = dict(kind="cosine", base=0.04, end=0.4)
  c.optimizer.exclude = ("norm_and_bias",)
  c.optimizer.clip_per_parameter = 3.0
  c.optimizer.freeze_until = {"prototypes": 1}  # epochs
  if variant == "continue":
    common.continued(c, "^projector/", "^prototypes/")
    common.frozen_patches(c)
    c.optimizer.weight_decay.end = 0.04  # few steps need none of its rise
  if variant == "few":
    common.few(c)
    c.method.prototypes.num = 1024
    c.method.teacher_temperature = 0.02
  return common.finish(c, variant, "few", "continue")
