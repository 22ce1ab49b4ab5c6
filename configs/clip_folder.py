"""CLIP on your own pictures with captions, as open_clip trains on CC3M.

    python run.py --config configs/clip_folder.py --config.data.dir=~/pairs

The folder holds pictures and captions.csv with the columns file, caption and, if there
are classes, label; a million pairs or more is where this begins to work. Its ResNet-50
is torchvision's: CLIP's has three convolutions in front, blurs where it strides, and
pools by attention. On CC3M the warm-up is open_clip's 10,000 steps.

Paper: zero-shot ImageNet 59.6 (Radford et al. 2021: ResNet-50, 32 epochs of 400 million
pairs, batch 32,768, learning rate 5e-4, weight decay 0.2).
Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 1024
  c.epochs = 30
  c.dtype = "bfloat16"
  c.data.name = "captions"
  c.data.size = 384  # crops are of nine tenths and more: docs/canvas.md
  c.data.captions = ()  # its own; labelled pictures get theirs from templates
  c.data.vocabulary = 49408
  c.data.context = 77
  c.data.tokenizer = ""  # CLIP's merges, or a run's folder; "": trained on the captions

  c.augment.recipe = "clip"
  c.augment.size = 224

  c.encoder.name = "resnet50"

  c.method.name = "clip"
  c.method.projector = dict(layers=1, out=1024, out_bias=False, init_std=0.022)
  c.method.text = dict(
    vocabulary=c.data.get_ref("vocabulary"), out=1024, width=512, depth=12, heads=8
  )

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1e-3, warmup_epochs=3.6)
  c.optimizer.weight_decay = 0.1
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "smoke":  # on digits, which have names alone
    c.data.captions = ("the digit {}", "a handwritten {}.")
  return common.finish(c, variant)
