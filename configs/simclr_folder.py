"""SimCLR on your own pictures: any tree of files, labelled by folder or not at all.

    python run.py --config configs/simclr_folder.py --config.data.dir=~/photos
    python run.py --config configs/simclr_folder.py:continue --config.data.dir=~/photos

ResNet-18 at 128 pixels; a start for a few thousand pictures on one GPU. Not from a
paper. Folders that are classes also give a kNN accuracy on a held-out tenth.
`:continue` goes on from the run in runs/start, such as a loaded file of torchvision's
(docs/weights.md), with a few hundred pictures or more. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 256
  c.epochs = 200
  c.data.name = "folder"
  c.data.size = 256  # twice the views' side: docs/canvas.md

  c.augment.recipe = "simclr"
  c.augment.size = 128
  c.augment.crop_min = 0.2  # few pictures need less distortion than ImageNet's
  c.augment.jitter = (0.4, 0.4, 0.4, 0.1)

  c.encoder.name = "resnet18"

  c.method.name = "simclr"
  c.method.temperature = 0.2
  c.method.projector = dict(layers=2, hidden=512, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.06, warmup_epochs=5)
  c.optimizer.scaling = "linear"
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  c.evals.knn.k = 20
  if variant == "continue":
    common.continued(c, "^projector/")
  return common.finish(c, variant, "continue")
