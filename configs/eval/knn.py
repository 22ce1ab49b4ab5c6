"""Weighted kNN on a run's newest checkpoint, beside raw pixels and a random encoder.

    python run.py --config configs/eval/knn.py --config.checkpoint=runs/simclr_cifar10

The protocol of Wu et al. (2018): cosine, k = 200 and temperature 0.1 on CIFAR; ImageNet
papers take 0.07, and DINO the best of k = 10, 20, 100 and 200.
"""

from ml_collections import ConfigDict


def get_config():
  c = ConfigDict()
  c.evaluator = "knn"
  c.protocol = ""  # the result's name; "": the evaluator's
  c.checkpoint = ""  # a run's folder
  c.step = 0  # of its checkpoint; 0: the newest
  c.data = dict(name="", dir="", train_split="", eval_split="")  # "": the run's own
  c.knn = dict(k=(10, 20, 100, 200), temperature=0.1)
  return c
