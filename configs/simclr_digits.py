"""The default: SimCLR on scikit-learn's handwritten digits, minutes on a laptop.

    python run.py

Not from a paper: a network of 0.2 M parameters on 1437 pictures of 8x8 greys. What
carries over from the papers is the method. Ours: README's first table, and
three seeds in docs/evaluation.md.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 256
  c.epochs = 60
  c.log_every = 10
  c.data.name = "digits"
  c.data.size = 8
  c.data.in_memory = True

  c.augment.recipe = "simclr"
  c.augment.size = 8
  c.augment.crop_min = 0.5
  c.augment.flip = 0.0  # a mirrored digit is another sign
  c.augment.jitter = (0.4, 0.4, 0.0, 0.0)  # greys have no colour
  c.augment.gray_p = 0.0
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"
  c.encoder.width = 16

  c.method.name = "simclr"
  c.method.temperature = 0.2
  c.method.projector = dict(layers=2, hidden=128, out=64)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=2e-3, warmup_epochs=10)
  c.optimizer.weight_decay = 1e-4

  c.checkpoint.every_steps = 200
  c.evals.knn.k = 20
  c.evals.at_end = ("knn", "few_label")
  return common.finish(c, variant)
