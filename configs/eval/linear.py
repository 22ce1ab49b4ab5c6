"""A linear probe on a run's newest checkpoint, beside raw pixels and a random encoder.

    python run.py --config configs/eval/linear.py --config.checkpoint=runs/simclr_digits

Softmax regression on frozen, standardised features without augmentation; its weight
decay is chosen on a held-out fifth of the training split.
"""

from configs.eval import common


def get_config():
  return common.base("linear")
