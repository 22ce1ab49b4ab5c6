"""DCL on CIFAR-10, after lightly's benchmark: ResNet-18, 200 epochs, no blur.

    python run.py --config configs/dcl_cifar10.py
    python run.py --config configs/dcl_cifar10.py:weighted    # DCLW
    python run.py --config configs/dcl_cifar10.py:cpu    # reduced, without a GPU

lightly: kNN 84.0 (batch 512; 800 epochs: 87.4; batch 128: 84.4), DCLW 82.4 (87.1;
83.3), k = 200, temperature 0.1, best of all epochs, of a loss that added one logarithm
for each kind of negatives; ours is the paper's, as lightly's is today: one of both.
There each view passes BatchNorm alone; here both share it, as in SimCLR. Ours: not yet
run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 200

  c.augment.recipe = "simclr"
  c.augment.size = 32
  c.augment.interpolation = "bilinear"
  c.augment.jitter = (0.4, 0.4, 0.4, 0.1)  # strength 0.5
  c.augment.blur_p = 0.0

  common.lightly_resnet18(c)

  c.method.name = "dcl"
  c.method.temperature = 0.1
  c.method.projector = dict(
    layers=2, hidden=512, out=128, hidden_bias=False, out_bias=False, last_norm="affine"
  )

  c.optimizer.name = "sgd"
  # lightly's .06 batch_size / 128
  c.optimizer.learning_rate = dict(kind="cosine", base=0.12, per="epoch")
  c.optimizer.scaling = "linear"
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant == "weighted":
    c.method.sigma = 0.5
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
    c.method.temperature = 0.2
  return common.finish(c, variant, "weighted", "cpu")
