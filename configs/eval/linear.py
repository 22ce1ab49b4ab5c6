"""A linear probe on a run's newest checkpoint, beside raw pixels and a random encoder.

    python run.py --config configs/eval/linear.py --config.checkpoint=runs/simclr_digits

Softmax regression on frozen, standardised features without augmentation; its weight
decay is chosen on a held-out fifth of the training split.
"""

from ml_collections import ConfigDict


def get_config():
  c = ConfigDict()
  c.evaluator = "linear"
  c.protocol = ""  # the result's name; "": the evaluator's
  c.checkpoint = ""  # a run's folder
  c.step = 0  # of its checkpoint; 0: the newest
  c.data = dict(name="", dir="", train_split="", eval_split="")  # "": the run's own
  return c
