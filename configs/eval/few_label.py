"""A linear probe from 1, 2, 5, 10 and 20 labels of each class, over twenty draws.

    python run.py --config configs/eval/few_label.py --config.checkpoint=runs/dino

MSN (Assran et al. 2022) counts so on ImageNet, with 1, 2 and 5 pictures of each class.
The lists of 1 % and 10 % of ImageNet that SimCLR published (12811 and 128116 pictures)
are TFDS's imagenet2012_subset; a probe learns from one of them by

    python run.py --config configs/eval/linear.py --config.checkpoint=runs/dino \
--config.data.name=imagenet2012_subset/1pct
"""

from configs.eval import common


def get_config():
  return common.base("few_label", labels_per_class=(1, 2, 5, 10, 20), draws=20, seed=0)
