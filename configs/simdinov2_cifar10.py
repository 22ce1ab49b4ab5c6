"""SimDINOv2 on CIFAR-10: `simdino_cifar10`, and patches hidden from the student.

    python run.py --config configs/simdinov2_cifar10.py
    python run.py --config configs/simdinov2_cifar10.py:cpu    # reduced, without a GPU

Not from a paper. Crops and masks are DINOv2's, the smoothed rate
`simdinov2_imagenet`'s. Ours: not yet run in full; `:cpu` kNN 36.3 (random encoder
31.6).
"""

from configs import common, simdino_cifar10


def get_config(variant: str = ""):
  c = simdino_cifar10.get_config("cpu" if variant == "cpu" else "")
  c.augment.recipe = "dinov2"
  c.augment.patch_size = c.encoder.patch_size
  c.encoder.mask_token = True
  c.method.name = "simdinov2"
  c.method.update(both_spread=True, patch_weight=1.0, patch_projector="projector")
  if variant == "smoke":
    c.method.projector.norm = True  # else all rows agree in the first steps
  return common.finish(c, variant, "cpu")
