"""SimCLR v2's second stage (Chen et al. 2020b): fine-tuning on few labels.

    python run.py --config configs/simclr_v2_finetune.py          # 1 % of ImageNet
    python run.py --config configs/simclr_v2_finetune.py:10pct
    python run.py --config configs/simclr_v2_finetune.py:cpu      # 1 % of CIFAR-10
    python run.py --config configs/simclr_v2_finetune.py:cpu_10pct

Starts from `simclr_v2_imagenet.py:r50` (`:cpu`: `simclr_v2_cifar10.py:cpu`) in its
default folder; another: `--config.pretrained.checkpoint=...`. The classifier stands
on the first layer of the three-layer head, with its BatchNorm and ReLU.

Paper: accuracy 57.9 with 1 %, 68.4 with 10 % (ResNet-50). Ours: docs/weights.md has the
table of the three stages.
"""

from configs import common, simclr_v2_cifar10, simclr_v2_imagenet


def get_config(variant: str = ""):
  on_cpu = variant.startswith("cpu")
  c = common.base()
  if on_cpu:
    before = simclr_v2_cifar10.get_config("cpu")
    common.cifar10(c)
    c.data.train_split = "train[:10%]" if variant == "cpu_10pct" else "train[:1%]"
    c.pretrained.checkpoint = "runs/simclr_v2_cifar10"
  else:
    before = simclr_v2_imagenet.get_config("r50")
    common.imagenet(c)
    c.data.name = "imagenet2012_subset/" + ("10pct" if variant == "10pct" else "1pct")
    c.pretrained.checkpoint = "runs/simclr_v2_imagenet"
  c.pretrained.take = ("^encoder/", "^projector/")
  c.batch_size = 1024
  c.epochs = 30 if variant == "10pct" else 60

  common.simclr_pictures(c, "supervised")
  c.augment.size = 32 if on_cpu else 224

  c.encoder = before.encoder

  c.method.name = "supervised"
  c.method.projector = dict(
    layers=1,
    out=before.method.projector.hidden,
    out_bias=False,
    last_norm="affine",
    last_activation=True,
  )
  c.method.classifier = dict(start="zeros")

  c.optimizer.name = "lars"
  c.optimizer.classic_momentum = True
  c.optimizer.learning_rate = dict(kind="cosine", base=0.005)
  c.optimizer.scaling = "sqrt"  # times the root of the batch size
  c.optimizer.momentum = 0.9
  c.optimizer.exclude = ("norm_and_bias", "^classifier/")
  if on_cpu:
    width = c.encoder.width
    common.cpu(c, batch_size=128, epochs=20 if variant == "cpu_10pct" else 60)
    c.encoder.width = width
    c.method.classifier = dict(init_std=0.01)  # as it was measured
    c.optimizer.learning_rate = dict(kind="cosine", base=1e-3)
    c.evals.every_epochs = 0
  return common.finish(c, variant, "10pct", "cpu", "cpu_10pct")
