"""VICRegL on CIFAR-10: `vicreg_cifar10`, and the 4 x 4 cells of its maps.

    python run.py --config configs/vicregl_cifar10.py
    python run.py --config configs/vicregl_cifar10.py:cpu    # reduced, without a GPU

Not from a paper. Of 16 cells the 5 nearest pairs count, as 20 of 49 there. Ours: not
yet run.
"""

from configs import common, vicreg_cifar10


def get_config(variant: str = ""):
  c = vicreg_cifar10.get_config("cpu" if variant == "cpu" else "")
  c.method.name = "vicregl"
  c.method.global_weight = 0.75
  c.method.matches = 5
  width = 128 if variant == "cpu" else 512
  c.method.dense_projector = dict(layers=3, hidden=width, out=width, out_bias=False)
  return common.finish(c, variant, "cpu")
