"""The linear probe of SimCLR: Nesterov's SGD, ninety epochs of batches of 4096.

    python run.py --config configs/eval/linear_simclr.py --config.checkpoint=runs/simclr

Chen et al. (2020), appendix B.6: learning rate 0.1 times batch_size / 256, Nesterov
momentum 0.9, no decay (its code: 1e-6) and no warm-up; crops and flips. Kernels start
at zero, as in its code, which trains such a head beside the encoder as well: that is
`evals.probe` here.
"""

from configs.eval import common


def get_config():
  c = common.training("linear_simclr")
  t = c.training
  t.batch_size = 4096
  t.epochs = 90
  t.augment.update(interpolation="bicubic", ops="simclr")
  t.method.name = "linear_probe"
  t.method.init_std = 0.0
  t.optimizer.name = "sgd"
  t.optimizer.nesterov = True
  t.optimizer.learning_rate = dict(kind="cosine", base=0.1)
  t.optimizer.scaling = "linear"
  t.optimizer.momentum = 0.9
  return c
