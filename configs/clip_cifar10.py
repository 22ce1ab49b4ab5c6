"""CLIP on CIFAR-10 with captions made of the names of its classes.

    python run.py --config configs/clip_cifar10.py
    python run.py --config configs/clip_cifar10.py:siglip   # every pair by itself
    python run.py --config configs/clip_cifar10.py:cpu      # reduced, without a GPU

Not from a paper: it shows the method on data that everybody has. Captions of one class
are negatives of each other, which keeps the loss above the logarithm of how often a
class is in the batch. The scale and bias of `:siglip` are SigLIP's (Zhai et al. 2023).
Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 30
  c.data.captions = (
    "a photo of a {}.",
    "a small picture of a {}.",
    "a blurry photo of one {}.",
    "this is a {}",
    "{}",
  )
  c.data.vocabulary = 512
  c.data.context = 24

  c.augment.recipe = "clip"
  c.augment.size = 32
  c.augment.crop_min = 0.5  # 0.9 is for hundreds of millions of pictures
  c.augment.flip = 0.5

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "clip"
  c.method.loss = "sigmoid" if variant == "siglip" else "softmax"
  c.method.projector = dict(layers=1, out=128, out_bias=False, init_std=0.044)
  c.method.text = dict(
    vocabulary=c.data.get_ref("vocabulary"), out=128, width=128, depth=4, heads=4
  )

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=1e-3, warmup_epochs=2)
  c.optimizer.weight_decay = 0.1
  c.optimizer.exclude = ("norm_and_bias",)
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.method.text.update(width=64, depth=2)
  return common.finish(c, variant, "siglip", "cpu")
