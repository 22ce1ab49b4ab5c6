"""SimCLR v2 on ImageNet (Chen et al. 2020b): big networks, a deeper head, a memory.

    python run.py --config configs/simclr_v2_imagenet.py           # ResNet-152, 3x, SK
    python run.py --config configs/simclr_v2_imagenet.py:r50
    python run.py --config configs/simclr_v2_imagenet.py:r50_sk

Pre-training only. Other widths: `--config.encoder.width=128` (2x) with
`--config.method.projector.hidden=4096`, as wide as the features.

Sources: learning rate (0.1 times the root of the batch: 6.4), warm-up (5 %) and 800
epochs: the paper's first author in google-research/simclr, issue 77; sk_ratio: issue
147; decay of the weights, temperature and head: that repository's README and flags;
memory (64K keys, 0.999): the paper, as quoted in Separius/SimCLRv2-Pytorch, issue 4.
Paper: linear 79.8; `:r50` 71.7 (71.1 without the memory: issue 77), `:r50_sk` 74.6
(800 epochs). Ours: not yet run.
"""

from configs import common

SIZES = {  # variant -> encoder, width, sk_ratio
  "": ("resnet152", 192, 0.0625),
  "r50": ("resnet50", 64, 0.0),
  "r50_sk": ("resnet50", 64, 0.0625),
}


def get_config(variant: str = ""):
  c = common.base()
  common.imagenet(c)
  c.batch_size = 4096
  c.epochs = 800

  common.simclr_pictures(c)
  c.augment.size = 224

  name, width, sk_ratio = SIZES.get(variant, SIZES[""])
  c.encoder.name = name
  c.encoder.width = width
  c.encoder.sk_ratio = sk_ratio
  c.encoder.start = "lecun"
  c.encoder.zero_init_gamma = True

  c.method.name = "simclr_v2"
  c.method.temperature = 0.1
  c.method.momentum = 0.999
  c.method.queue_size = 65536
  c.method.projector = dict(
    layers=3,
    hidden=32 * width,
    out=128,
    hidden_bias=False,
    out_bias=False,
    last_norm="scale",
    init_std=0.01,
  )

  c.optimizer.name = "lars"
  c.optimizer.classic_momentum = True  # the learning rate inside the momentum
  c.optimizer.learning_rate = dict(kind="cosine", base=0.1, warmup_epochs=40)
  c.optimizer.scaling = "sqrt"  # times the root of the batch size
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  c.optimizer.exclude = ("norm_and_bias",)
  c.evals.probe.learning_rate = 1e-3
  return common.finish(c, variant, "r50", "r50_sk")
