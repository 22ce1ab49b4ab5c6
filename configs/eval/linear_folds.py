"""A linear probe on each of several folds of labels: STL-10's protocol.

    python run.py --config configs/eval/linear_folds.py \
--config.checkpoint=runs/simclr_stl10 --config.data.train_split=train \
--config.linear.folds=stl10_binary/fold_indices.txt

Ten probes, each of the 1000 labels of a line of the file, on the whole test split: the
mean and the deviation between them (Coates et al. 2011). The file comes with STL-10's
own archive, which TFDS leaves in its folder downloads/extracted; its numbers count the
pictures as the archive has them, and are followed through TFDS's shuffling.
"""

from configs.eval import common


def get_config():
  c = common.base("linear", folds="fold_indices.txt")
  c.protocol = "linear_folds"
  return c
