"""Cross-entropy on CIFAR-10: SupCon's baseline, as its official repository runs it.

    python run.py --config configs/supervised_cifar10.py
    python run.py --config configs/supervised_cifar10.py:cpu    # reduced, without a GPU

Paper: accuracy 95.0 (ResNet-50, 500 epochs; Khosla et al. 2020, table 2). On few
labels add `--config.data.train_split='train[:10%]'`. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 1024
  c.epochs = 500

  c.augment.recipe = "supervised"
  c.augment.size = 32
  c.augment.crop_min = 0.2
  common.cifar10_statistics(c)

  c.encoder.name = "resnet50"
  c.encoder.stem = "cifar"

  c.method.name = "supervised"
  c.method.classifier = dict(init_std=0.0)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(
    kind="epoch_cosine", base=0.8, end=0.0008, start=0.01, warmup_epochs=10
  )
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 1e-4
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.name = "resnet18"
  return common.finish(c, variant, "cpu")
