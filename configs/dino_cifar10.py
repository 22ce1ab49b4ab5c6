"""DINO on CIFAR-10, after lightly's benchmark: ResNet-18 and two views of 32 pixels.

    python run.py --config configs/dino_cifar10.py

lightly: kNN 84.0 (batch 128, 200 epochs, k = 200, temperature 0.1, best of all epochs),
81.3 at batch 512. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 128
  c.epochs = 200

  c.augment.recipe = "dino"
  c.augment.size = 32
  c.augment.crop_min = 0.14  # the official range for convolutional networks
  c.augment.local_views = 0
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "dino"
  c.method.student_temperature = 0.1
  c.method.teacher_temperature = dict(
    kind="warmup", start=0.04, base=0.07, warmup_epochs=30, per="epoch", inclusive=True
  )
  c.method.centre_momentum = 0.9
  c.method.tau = dict(kind="cosine", base=0.996, end=1.0)
  c.method.projector = dict(layers=3, hidden=2048, out=256, activation="gelu")
  c.method.prototypes = dict(num=2048)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.06)
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  c.optimizer.freeze_until = {"prototypes": 1}  # epochs
  return common.finish(c, variant)
