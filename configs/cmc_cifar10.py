"""CMC on CIFAR-10 (Tian et al. 2019): L and ab, each a ResNet-18 of half the width.

    python run.py --config configs/cmc_cifar10.py
    python run.py --config configs/cmc_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: CMC was published on ImageNet, STL-10 and NYU Depth. The temperature
is that of STL-10, the rest InstDisc's on CIFAR-10. `:cpu` has few pictures, as what a
bank remembers of an epoch ago must still mean something. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 128
  c.epochs = 200

  c.augment.recipe = "cmc"
  c.augment.size = 32

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"
  c.encoder.width = 32

  c.method.name = "cmc"
  c.method.channels = (1, 2)
  c.method.temperature = 0.1
  c.method.bank_momentum = 0.5
  c.method.negatives = 4096
  c.method.projector = dict(layers=1, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.03, milestones=(120, 160), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=30)
    c.data.train_split = "train[:4%]"  # meets each row of the banks thirty times
    c.augment.crop_min = 0.5
    c.encoder.width = 8  # each of two
    c.method.update(softmax=True, temperature=0.2, negatives=1024)
    c.method.bank_momentum = 0.0  # rows as new as can be
    c.method.projector.last_norm = "plain"  # else all rows are alike for long
    c.optimizer.learning_rate.base = 1e-3
  return common.finish(c, variant, "cpu")
