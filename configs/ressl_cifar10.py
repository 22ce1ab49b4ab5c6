"""ReSSL on CIFAR-10: `moco_v2_cifar10` with ReSSL's loss, and views of the second kind.

    python run.py --config configs/ressl_cifar10.py
    python run.py --config configs/ressl_cifar10.py:cpu    # reduced, without a GPU

Paper: linear 90.2 after 200 epochs, of a ResNet-18 with a queue of 4096 and a decay of
0.99; the rest here is MoCo's demo, with BatchNorm in the head. Ours: not yet run.
"""

from configs import common, moco_v2_cifar10


def get_config(variant: str = ""):
  reduced = variant == "cpu"
  c = moco_v2_cifar10.get_config("cpu" if reduced else "")
  c.augment.recipe = "ressl"
  c.augment.blur_p = 0.0
  c.method.name = "ressl"
  c.method.temperature = 0.1
  c.method.key_temperature = 0.04
  c.method.projector.norm = True
  if not reduced:
    c.method.momentum = 0.99
    c.method.queue_size = 4096
  return common.finish(c, variant, "cpu")
