"""SimCLR on STL-10's 100,000 unlabelled pictures: ResNet-18 at 96 pixels, 100 epochs.

    python run.py --config configs/simclr_stl10.py
    python run.py --config configs/simclr_stl10.py:resnet50    # 50 epochs
    python run.py --config configs/eval/linear_folds.py \
--config.checkpoint=runs/simclr_stl10 --config.data.train_split=train \
--config.linear.folds=stl10_binary/fold_indices.txt

The third is the data set's own protocol: ten folds of 1000 labels (see the config).
The numbers are those of sthalles/SimCLR, the PyTorch code most used here. Its learning
rate falls by an eighth after epoch 10 (:resnet50: by a fortieth), ours stays; its Adam
adds a decay of 1e-4 to the gradient, ours has none.

Not from a paper. sthalles/SimCLR: linear 74.45, :resnet50 70.08, from all 5000 labels.
Ours: not yet run.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  c.batch_size = 256
  c.epochs = 50 if variant == "resnet50" else 100
  c.data.name = "stl10"
  c.data.train_split = "unlabelled"
  c.data.size = 96
  c.data.in_memory = True  # 2.8 GB
  c.evals.every_epochs = 0  # what it trains on has no labels
  c.evals.at_end = ()

  c.augment.recipe = "simclr"
  c.augment.size = 96
  c.augment.interpolation = "bilinear"
  c.augment.blur_p = 1.0
  c.augment.update(mean=(0.0,), std=(1.0,))

  c.encoder.name = variant if variant == "resnet50" else "resnet18"

  c.method.name = "simclr"
  c.method.temperature = 0.07
  c.method.projector = dict(
    layers=2, hidden=2048 if variant == "resnet50" else 512, out=128, norm=False
  )

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = 3e-4
  return common.finish(c, variant, "resnet50")
