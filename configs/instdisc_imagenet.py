"""InstDisc on ImageNet (Wu et al. 2018): noise-contrastive, 4096 negatives.

    python run.py --config configs/instdisc_imagenet.py
    python run.py --config configs/instdisc_imagenet.py:proximal

The second adds the paper's proximal term (section 3.3), which the official code
leaves out. Official README: ResNet-50 1-NN 46.8 (ResNet-18: 41.0), of the head's 128
numbers; ours is of the encoder's features. Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 256
  c.epochs = 200

  c.augment.recipe = "instdisc"
  c.augment.size = 224

  c.encoder.name = "resnet50"
  c.encoder.bn_group_size = 32  # 8 GPUs

  c.method.name = "instdisc"
  c.method.temperature = 0.07
  c.method.bank_momentum = 0.5
  c.method.negatives = 4096
  c.method.projector = dict(layers=1, out=128)
  if variant == "proximal":
    c.method.proximal = 30.0  # figure 4 of the paper sweeps 0, 10, 30, 50

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="steps", base=0.03, milestones=(120, 160), factor=0.1
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  return common.finish(c, variant, "proximal")
