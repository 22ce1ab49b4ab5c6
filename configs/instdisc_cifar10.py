"""InstDisc on CIFAR-10 (Wu et al. 2018): the full softmax over 50,000 instances.

    python run.py --config configs/instdisc_cifar10.py
    python run.py --config configs/instdisc_cifar10.py:cpu    # reduced, without a GPU

Paper: kNN 80.8 (200 epochs; recalled, not checked), of the 128 numbers of the head;
ours is of the encoder's features. The official code's recipe, `cifar.py --nce-k 0`: no
flip, greys after the jitter. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 128
  c.epochs = 200

  c.augment.recipe = "instdisc"
  c.augment.size = 32
  common.cifar10_statistics(c)
  c.augment.flip = 0.0
  c.augment.gray_first = False

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"
  c.encoder.start = "torch"

  c.method.name = "instdisc"
  c.method.temperature = 0.1
  c.method.bank_momentum = 0.5
  c.method.negatives = 0  # the full softmax
  c.method.projector = dict(layers=1, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.03, milestones=(120, 160), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=20)
    c.data.train_split = "train[:10%]"  # meets each row of the bank twenty times
    c.method.update(temperature=0.2, bank_momentum=0.0)  # rows as new as can be
    c.method.projector.update(last_norm="plain")  # else all rows are alike for long
  return common.finish(c, variant, "cpu")
