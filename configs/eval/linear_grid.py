"""A linear probe for every learning rate and readout at once; the best is kept.

    python run.py --config configs/eval/linear_grid.py --config.checkpoint=runs/dino

The protocol of DINOv2 (Oquab et al. 2023): SGD for ten epochs on crops and flips, a
grid of learning rates by features of the last block or the last four, class token
alone or beside the mean of the patches (other encoders have their features alone).
The encoder is seen once for all of them. Here the best is chosen on a tenth of the
training split, which DINOv2's code does on the validation set itself, and the test
split is looked at once.
"""

from configs.eval import common


def get_config():
  c = common.training("linear_grid")
  c.data.held_out = 0.1
  t = c.training
  t.batch_size = 1024
  t.epochs = 10
  t.augment.interpolation = "bicubic"
  t.method.name = "linear_probe"
  t.method.choices = ()  # all that the encoder has
  t.method.rates = (
    *(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
    *(0.1, 0.5, 2.0, 10.0, 30.0),  # for features as small as a ResNet's
  )
  t.optimizer.name = "sgd"
  t.optimizer.learning_rate = dict(kind="cosine", base=1.0)
  t.optimizer.scaling = "linear"  # times batch_size / 256
  t.optimizer.momentum = 0.9
  return c
