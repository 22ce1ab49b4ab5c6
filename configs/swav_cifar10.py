"""SwAV on CIFAR-10, after lightly's benchmark: ResNet-18 and two views of 32 pixels.

    python run.py --config configs/swav_cifar10.py
    python run.py --config configs/swav_cifar10.py:cpu    # reduced, without a GPU

lightly: kNN 84.2 (batch 512, 200 epochs, k = 200, temperature 0.1, best of all
epochs), 88.4 after 800 epochs. There each view passes BatchNorm alone and Adam's
decay is part of the gradient; here the views share it, as in SwAV's own code, whose
jitter is stronger too. Ours: not yet run in full.

`:cpu` takes the official README's advice against collapse in the first steps, a smaller
epsilon and frozen prototypes: frozen throughout, for the official runs' one epoch. At
the full strength of the jitter so short a run learns next to nothing.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 200

  c.augment.recipe = "swav"
  c.augment.size = 32
  c.augment.local_views = 0
  c.augment.blur_p = 0.0

  common.lightly_resnet18(c)

  c.method.name = "swav"
  c.method.temperature = 0.1
  c.method.epsilon = 0.05
  c.method.projector = dict(layers=2, hidden=512, out=128, hidden_bias=False)
  c.method.prototypes = dict(num=512, weight_norm=False, use_bias=True)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(kind="cosine", base=2e-3, per="epoch")
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.weight_decay = 1e-6
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.update(crop_min=0.2, jitter=(0.4, 0.4, 0.4, 0.1))
    c.method.epsilon = 0.03
    c.method.prototypes.num = 128  # as many as a batch has pictures
    c.method.projector.last_norm = "plain"
    c.optimizer.freeze_until = {"prototypes": 1}  # epochs
  return common.finish(c, variant, "cpu")
