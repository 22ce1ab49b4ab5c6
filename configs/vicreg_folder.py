"""VICReg on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/vicreg_folder.py --config.data.dir=~/photos
    python run.py --config configs/vicreg_folder.py:few --config.data.dir=~/photos

ResNet-18 at 128 pixels, for ten thousand pictures and more on one GPU; `:few` for less.
There is no teacher and no prototype to fit to how many; the batch is what variances
are estimated from, and stays at 128.

Not from a paper: the numbers are those of lightly's benchmark on the 9,469 pictures of
Imagenette, as in `vicreg_cifar10`, and the views those of the paper's appendix.
lightly: kNN 84.5 (800 epochs, k = 200). Ours: not yet run.
"""

from configs import common, vicreg_cifar10


def get_config(variant: str = ""):
  c = vicreg_cifar10.get_config()
  c.data.update(name="folder", size=256, in_memory=False)  # twice the views' side
  c.augment.size = 128
  c.augment.blur_p = 0.5
  c.encoder.stem = "imagenet"
  c.evals.knn.k = 20
  if variant == "few":
    common.few(c)
  return common.finish(c, variant, "few")
