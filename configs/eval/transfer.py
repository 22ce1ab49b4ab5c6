"""Transfer: a linear probe or kNN on other data than the run's.

    python run.py --config configs/eval/transfer.py --config.checkpoint=runs/dino
    python run.py --config configs/eval/transfer.py --config.checkpoint=runs/dino \
--config.data.name=oxford_flowers102 --config.data.train_split=train+validation \
--config.data.eval_split=test
    python run.py --config configs/eval/transfer.py --config.checkpoint=runs/dino \
--config.evaluator=knn --config.protocol=transfer_knn

L2-regularised softmax regression on frozen features without augmentation, its weight
decay chosen on held-out training pictures, is the protocol of Kornblith et al. (2019)
and of SimCLR's table 8. They try 45 weight decays and have twelve data sets; any
labelled one of TFDS, or a folder with a folder for each class, will do; some of theirs
are scored by the mean over classes, here all by the share of pictures. Pictures are
seen at the size of the run.
"""

from configs.eval import common


def get_config():
  c = common.base("linear")
  c.protocol = "transfer"
  c.data.name = "cifar100"
  c.knn = dict(k=(10, 20, 100, 200), temperature=0.1)  # --config.evaluator=knn
  return c
