"""Weighted kNN on a run's newest checkpoint, beside raw pixels and a random encoder.

    python run.py --config configs/eval/knn.py --config.checkpoint=runs/simclr_cifar10

The protocol of Wu et al. (2018): k = 200, cosine, temperature 0.1 on CIFAR; ImageNet
papers take 0.07, and DINO k = 20.
"""

from ml_collections import ConfigDict


def get_config():
  c = ConfigDict()
  c.evaluator = "knn"
  c.checkpoint = ""  # a run's folder
  c.data = dict(name="", dir="", train_split="", eval_split="")  # "": the run's own
  c.knn = dict(k=200, temperature=0.1)
  return c
