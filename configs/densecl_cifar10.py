"""DenseCL on CIFAR-10: `moco_v2_cifar10`, and the 4 x 4 cells of its maps.

    python run.py --config configs/densecl_cifar10.py
    python run.py --config configs/densecl_cifar10.py:cpu    # reduced, without a GPU

Not from a paper, whose runs are on COCO and ImageNet. Ours: not yet run.
"""

from configs import common, moco_v2_cifar10


def get_config(variant: str = ""):
  reduced = variant == "cpu"
  c = moco_v2_cifar10.get_config("cpu" if reduced else "")
  c.method.name = "densecl"
  c.method.dense_weight = 0.5
  c.method.dense_projector = dict(layers=2, hidden=512, out=128, norm=False)
  if reduced:
    c.method.dense_projector.update(norm=True, last_norm="plain")
  return common.finish(c, variant, "cpu")
