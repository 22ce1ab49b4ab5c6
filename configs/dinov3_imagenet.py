"""DINOv3 on ImageNet (Siméoni et al. 2025): the numbers of its ViT-7B on a ViT-L/16.

    python run.py --config configs/dinov3_imagenet.py

Not published at this size: the 7B learned from 1.7 billion pictures, and what was
released besides is distilled from it. Rotary positions in a box that is rescaled,
constant schedules, crops of 256 and 112 pixels without flips, and Gram anchoring with
crops of 512 are those of the official configs; heads, rate, decay and batch those of
its own run on ImageNet alone (`dinov2_imagenet:rope`, kNN 82.2, linear 83.3), whose
last fifth is anchored as there the last 190,000 of 1.2 million steps. Ours: not yet
run.

There a block draws one box for all crops of a GPU, class tokens of global and local
crops have norms of their own, and local crops weigh half in the end.
"""

from configs import common, dinov2_imagenet


def get_config(variant: str = ""):
  c = dinov2_imagenet.get_config("rope")
  c.augment.update(size=256, local_size=112, larger=512, flip=0.0)

  c.encoder.registers = 4
  c.encoder.key_bias = False
  c.encoder.rope_rescale = 2.0

  with c.method.ignore_type():
    c.method.tau = 0.994
  c.method.name = "dinov3"
  c.method.gram_weight = dict(
    kind="steps", base=2.0, milestones=(0, 160), factor=(0.0, 1.0)
  )
  c.method.gram_first = 100_000  # of 125,000 steps
  c.method.gram_every = 10_000
  c.method.gram_updates = 3

  rate = c.optimizer.learning_rate
  constant = dict(kind="warmup", base=rate.base, start=0.0, warmup_epochs=20)
  c.optimizer.learning_rate = constant
  c.optimizer.groups = {
    "^encoder/patch/": {"learning_rate": {**constant, "base": rate.base / 5}}
  }
  with c.optimizer.ignore_type():
    c.optimizer.weight_decay = 0.04
  return common.finish(c, variant)
