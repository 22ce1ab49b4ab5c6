"""Cross-entropy on CIFAR-100: `supervised_cifar10` with other data.

    python run.py --config configs/supervised_cifar100.py

Paper: accuracy 75.3 (ResNet-50, 500 epochs; Khosla et al. 2020, table 2). Ours: not yet
run.
"""

from configs import common, supcon_cifar100, supervised_cifar10


def get_config(variant: str = ""):
  c = supervised_cifar10.get_config()
  data = supcon_cifar100.get_config()
  c.data.name = data.data.name
  c.augment.update(mean=data.augment.mean, std=data.augment.std)
  return common.finish(c, variant)
