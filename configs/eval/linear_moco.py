"""The linear probe of MoCo: one learning rate, 30, for a hundred epochs.

    python run.py --config configs/eval/linear_moco.py --config.checkpoint=runs/moco_v2

He et al. (2020), section 4.1: SGD without decay, batch 256, the rate falls to a tenth
at epochs 60 and 80; crops and flips. Of our features, a mean over pixels as theirs.
"""

from configs.eval import common


def get_config():
  c = common.training("linear_moco")
  t = c.training
  t.batch_size = 256
  t.epochs = 100
  t.method.name = "linear_probe"
  t.optimizer.name = "sgd"
  t.optimizer.learning_rate = dict(
    kind="steps", base=30.0, milestones=(60, 80), factor=0.1
  )
  t.optimizer.momentum = 0.9
  return c
