"""NNCLR on CIFAR-10, after lightly's benchmark: ResNet-18, 200 epochs, no blur.

    python run.py --config configs/nnclr_cifar10.py
    python run.py --config configs/nnclr_cifar10.py:cpu    # reduced, without a GPU

lightly: kNN 81.5 (batch 512, 200 epochs; batch 128: 83.4, 800 epochs: 89.2), k = 200,
temperature 0.1, best of all epochs; its loss is another. The loss is the paper's, its
temperature and the views, BYOL's pair, are solo-learn's (91.88 with an online linear
head, 1000 epochs). Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 200

  c.augment.recipe = "byol"
  c.augment.size = 32
  c.augment.interpolation = "bilinear"
  c.augment.blur_p = 0.0

  common.lightly_resnet18(c)

  c.method.name = "nnclr"
  c.method.temperature = 0.2
  c.method.queue_size = 8192
  c.method.projector = dict(
    layers=2,
    hidden=2048,
    out=256,
    hidden_bias=False,
    out_bias=False,
    last_norm="affine",
  )
  c.method.predictor = dict(layers=2, hidden=4096, out=256, hidden_bias=False)

  c.optimizer.name = "sgd"
  # lightly's .06 batch_size / 128
  c.optimizer.learning_rate = dict(kind="cosine", base=0.12, per="epoch")
  c.optimizer.scaling = "linear"
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
    c.method.queue_size = 2048
    c.method.projector.update(hidden=512, out=128)
    c.method.predictor.update(hidden=512, out=128)
  return common.finish(c, variant, "cpu")
