"""SupCon on CIFAR-100 (Khosla et al. 2020): `supcon_cifar10` with other data.

    python run.py --config configs/supcon_cifar100.py
    python run.py --config configs/supcon_cifar100.py:simclr # the same without labels

Paper: linear 76.5; SimCLR 70.7; cross-entropy 75.3 (ResNet-50). Ours: not yet run.
"""

from configs import common, supcon_cifar10


def get_config(variant: str = ""):
  c = supcon_cifar10.get_config(variant if variant == "simclr" else "")
  c.data.name = "cifar100"
  c.augment.mean = (0.5071, 0.4867, 0.4408)
  c.augment.std = (0.2675, 0.2565, 0.2761)
  return common.finish(c, variant, "simclr")
