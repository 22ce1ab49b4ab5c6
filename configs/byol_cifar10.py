"""BYOL on CIFAR-10, after lightly's benchmark: ResNet-18, 200 epochs, no blur.

    python run.py --config configs/byol_cifar10.py
    python run.py --config configs/byol_cifar10.py:cpu    # reduced, without a GPU
    python run.py --config configs/byol_cifar10.py:cpu_no_bn    # collapses, or :no_bn

lightly: kNN 86.8 (batch 512; 800 epochs: 91.0), k = 200, temperature 0.1, best of all
epochs. Our views are BYOL's own pair (solarize on the second), and the target's first
weights are drawn apart, where lightly copies them. Ours: not yet run in full.

`:no_bn` has no BatchNorm in projector and predictor (Fetterman & Albrecht 2020;
Richemond et al. 2020): docs/collapse.md.
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

  c.method.name = "byol"
  c.method.tau = 0.99
  c.method.projector = dict(layers=2, hidden=1024, out=256, hidden_bias=False)
  c.method.predictor = dict(layers=2, hidden=1024, out=256, hidden_bias=False)

  c.optimizer.name = "sgd"
  # lightly's .06 batch_size / 128 and 5e-4, for a loss that is four times its loss.
  c.optimizer.learning_rate = dict(kind="cosine", base=0.03, per="epoch")
  c.optimizer.scaling = "linear"
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 2e-3
  if variant.startswith("cpu"):
    common.cpu(c, batch_size=64, epochs=1)  # more steps: it needs no large batch
    c.augment.crop_min = 0.5
    c.method.tau = 0.9  # in some hundred steps a slower target stays what it was
    c.optimizer.learning_rate.base = 1e-3
    c.optimizer.groups = {"^predictor/": dict(learning_rate=0.01)}
    c.method.projector.update(hidden=512, out=128, last_norm="plain")
    c.method.predictor.update(hidden=512, out=128)
  if variant.endswith("no_bn"):
    c.method.projector.update(norm=False, last_norm="none")
    c.method.predictor.norm = False
  return common.finish(c, variant, "cpu", "no_bn", "cpu_no_bn")
