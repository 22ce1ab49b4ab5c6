"""Weighted kNN on a run's newest checkpoint, beside raw pixels and a random encoder.

    python run.py --config configs/eval/knn.py --config.checkpoint=runs/simclr_cifar10

The protocol of Wu et al. (2018): cosine, k = 200 and temperature 0.1 on CIFAR; ImageNet
papers take 0.07, and DINO the best of k = 10, 20, 100 and 200.
"""

from configs.eval import common


def get_config():
  return common.base("knn", k=(10, 20, 100, 200), temperature=0.1)
