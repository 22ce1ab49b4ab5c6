"""CMC on scenes of many views (Tian et al. 2019, section 4.4), as of NYU Depth v2.

    python run.py --config configs/cmc_multiview.py --config.data.dir=~/nyu
    python run.py --config configs/cmc_multiview.py --config.method.graph=core

Colour, depth, normals and segmentation of a scene lie on one another; `data.planes`
says which there are, `data/arrays.py` how they are stored. Full graph: any two views
are contrasted. Paper: figures of segmentation from one view's features, which are not
judged here. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 128
  c.epochs = 200
  c.data.name = "arrays"
  c.data.size = 256  # twice the views' side: docs/canvas.md
  if variant != "smoke":  # digits have none
    c.data.planes = (("rgb", 3), ("depth", 1), ("normals", 3), ("segmentation", 1))

  c.augment.recipe = "cmc"
  c.augment.size = 128
  c.augment.colour = "rgb"
  c.augment.mean = (0.5,)
  c.augment.std = (0.5,)

  c.encoder.name = "resnet18"
  c.encoder.width = 32

  c.method.name = "cmc"
  c.method.channels = (3, 1, 3, 1) if variant != "smoke" else (1, 1, 1)
  c.method.graph = "full"
  c.method.softmax = True
  c.method.temperature = 0.1
  c.method.bank_momentum = 0.5
  c.method.negatives = 1024
  c.method.projector = dict(layers=1, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.03, milestones=(120, 160), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  return common.finish(c, variant)
