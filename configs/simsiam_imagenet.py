"""SimSiam on ImageNet (Chen & He 2021): ResNet-50, the official code's defaults.

    python run.py --config configs/simsiam_imagenet.py

Official code: linear 68.1 (100 epochs, batch 512, `--fix-pred-lr`); the paper's table
has 68.3 at batch 256. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 512
  c.epochs = 100

  c.augment.recipe = "moco_v2"
  c.augment.size = 224

  c.encoder.name = "resnet50"
  c.encoder.zero_init_gamma = True

  c.method.name = "simsiam"
  c.method.projector = dict(
    layers=3,
    hidden=2048,
    out=2048,
    hidden_bias=False,
    out_bias=False,
    last_norm="plain",
  )
  c.method.predictor = dict(layers=2, hidden=512, out=2048, hidden_bias=False)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="cosine", base=0.05, per="epoch")
  c.optimizer.groups = {"^predictor/": dict(learning_rate=0.05)}  # does not decay
  c.optimizer.scaling = "linear"  # times batch_size / 256
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4  # of scales and biases too
  return common.finish(c, variant)
