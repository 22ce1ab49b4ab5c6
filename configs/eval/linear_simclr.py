"""The linear probe of SimCLR: LARS for ninety epochs of batches of 4096.

    python run.py --config configs/eval/linear_simclr.py --config.checkpoint=runs/simclr

Chen et al. (2020), appendix B.6: learning rate 0.1 times batch_size / 256, momentum
0.9, no decay and no warm-up; crops and flips. (Its released code trains this head
beside the encoder: that is `evals.probe` here.)
"""

from configs.eval import common


def get_config():
  c = common.training("linear_simclr")
  t = c.training
  t.batch_size = 4096
  t.epochs = 90
  t.method.name = "linear_probe"
  t.optimizer.name = "lars"
  t.optimizer.classic_momentum = True
  t.optimizer.learning_rate = dict(kind="cosine", base=0.1)
  t.optimizer.scaling = "linear"
  t.optimizer.momentum = 0.9
  t.optimizer.exclude = ("norm_and_bias",)
  return c
