"""SimSiam on CIFAR-10 (Chen & He 2021, appendix D): ResNet-18, 800 epochs, no blur.

    python run.py --config configs/simsiam_cifar10.py
    python run.py --config configs/simsiam_cifar10.py:cpu    # reduced, without a GPU
    python run.py --config configs/simsiam_cifar10.py:cpu_no_stop_gradient
    python run.py --config configs/simsiam_cifar10.py:cpu_no_predictor

Paper: linear 91.8 (SimCLR 91.1; recalled, not checked). Ours: not yet run in full.

`:no_stop_gradient` (figure 2) and `:no_predictor` (table 1) collapse, in full or in the
reduced forms above: docs/collapse.md.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 800

  c.augment.recipe = "moco_v2"
  c.augment.size = 32
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "simsiam"
  c.method.stop_gradient = True
  c.method.predict = True
  c.method.projector = dict(
    layers=2,
    hidden=2048,
    out=2048,
    hidden_bias=False,
    out_bias=False,
    last_norm="plain",
  )
  c.method.predictor = dict(layers=2, hidden=512, out=2048, hidden_bias=False)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.03, per="epoch")
  c.optimizer.groups = {"^predictor/": dict(learning_rate=0.03)}  # does not decay
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant.startswith("cpu"):
    common.cpu(c, batch_size=64, epochs=1)  # more steps: it needs no large batch
    c.augment.crop_min = 0.5
    c.optimizer.learning_rate.base = 1e-3
    c.optimizer.groups = {"^predictor/": dict(learning_rate=0.01)}
    c.method.projector.update(hidden=512, out=512)
    c.method.predictor.update(hidden=128, out=512)
  if variant.endswith("no_stop_gradient"):
    c.method.stop_gradient = False
  if variant.endswith("no_predictor"):
    c.method.predict = False
  without = "no_stop_gradient", "no_predictor"
  return common.finish(c, variant, "cpu", *without, *(f"cpu_{w}" for w in without))
