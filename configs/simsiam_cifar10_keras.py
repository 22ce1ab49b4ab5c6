"""SimSiam on CIFAR-10 after keras.io's example: ResNet-20 v2, 5 epochs, mended.

    python run.py --config configs/simsiam_cifar10_keras.py
    python run.py --config configs/simsiam_cifar10_keras.py:mended
    python run.py --config configs/eval/linear.py --config.checkpoint=<its folder>

Not from a paper. The example (`examples/vision/simsiam.py` of keras-io) prints linear
23.03. As its code reads:
  its two views come from two data sets, shuffled apart with one seed, and are a pair
  only as long as the two shuffles agree: here one picture gives both;
  its crops of 32 pixels out of 32 are the identity, so that both views share their
  geometry (flips apart): here they cover 20 to 100 % of the picture;
  its brightness moves pixels of 0 to 255 by up to 0.32: here by a third;
  its training step adds no `losses`, so that the decay of 5e-4 set in its heads does
  nothing: here it decays all parameters;
  it passes no `training=True`, without which Keras takes BatchNorm's running
  statistics: here those of the batch;
  its backbone is pooled before the last BatchNorm and ReLU: here behind.
Its network too is Keras's: BatchNorm of epsilon 1e-3 and momentum 0.99, convolutions
with biases and he_normal kernels, jitter in one order; here 1e-5 and 0.9, none, normal
by fan_out, any order. The other numbers are the example's; its predictor has ReLU
before BatchNorm.
Ours: linear 42.2 after two of the five epochs, a random encoder 46.7
(docs/cifar10_on_a_cpu.md). `:mended` is the same network, batch and epochs by AdamW,
with crops of half the picture and more, as simsiam_cifar10:cpu; still to be run.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 128
  c.epochs = 5
  c.log_every = 10

  c.augment.recipe = "moco_v2"
  c.augment.size = 32
  c.augment.jitter = (0.32, 0.32, 0.32, 0.02)
  c.augment.blur_p = 0.0
  c.augment.mean = (0.5, 0.5, 0.5)  # pixels in -1 to 1
  c.augment.std = (0.5, 0.5, 0.5)

  c.encoder.name = "resnet20v2"

  c.method.name = "simsiam"
  c.method.projector = dict(
    layers=2,
    hidden=2048,
    out=2048,
    hidden_bias=False,
    out_bias=False,
    last_norm="affine",
  )
  c.method.predictor = dict(layers=2, hidden=512, out=2048, hidden_bias=False)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.03)
  c.optimizer.momentum = 0.6
  c.optimizer.weight_decay = 5e-4
  c.evals.every_epochs = 1
  if variant == "mended":  # the same network, batch and epochs; as simsiam_cifar10:cpu
    c.augment.crop_min = 0.5
    c.optimizer = ConfigDict()
    c.optimizer.name = "adamw"
    c.optimizer.learning_rate = dict(kind="cosine", base=1e-3, warmup_epochs=0.5)
    c.optimizer.groups = {"^predictor/": dict(learning_rate=0.01)}
    c.optimizer.weight_decay = 1e-4
  return common.finish(c, variant, "mended")
