"""CMC on CIFAR-10 (Tian et al. 2019): L and ab, each a ResNet-18 of half the width.

    python run.py --config configs/cmc_cifar10.py
    python run.py --config configs/cmc_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: CMC was published on ImageNet, STL-10 and NYU Depth. The temperature
is that of STL-10, the rest InstDisc's on CIFAR-10. `:cpu` is two epochs, as in the
first the rows of the banks are still random: its views have hardly begun to agree.
Ours: not yet run.
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
    common.cpu(c, batch_size=128, epochs=10)
    c.data.train_split = "train[:10%]"  # meets each row of the banks ten times
    c.encoder.width = 8  # each of two
    c.method.update(softmax=True, temperature=0.2, negatives=512)
  return common.finish(c, variant, "cpu")
