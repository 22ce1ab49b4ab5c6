"""W-MSE on CIFAR-10 (Ermolov et al. 2021): ResNet-18, two views, 1000 epochs.

    python run.py --config configs/wmse_cifar10.py
    python run.py --config configs/wmse_cifar10.py:cpu    # reduced, without a GPU

Paper: linear 91.55, 5-NN 89.69 (recalled, not checked); there crops come after the
colours, and Adam's decay is added to the gradient. solo-learn: 88.67 with an online
linear head. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 1000

  c.augment.recipe = "simclr"
  c.augment.size = 32
  common.cifar10_statistics(c)
  c.augment.crop_min = 0.2
  c.augment.jitter = (0.4, 0.4, 0.4, 0.1)
  c.augment.gray_p = 0.1
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"

  c.method.name = "wmse"
  c.method.sub_batch = 128
  c.method.iterations = 1
  c.method.projector = dict(layers=2, hidden=1024, out=64)

  c.optimizer.name = "adamw"
  c.optimizer.learning_rate = dict(
    kind="steps",
    base=3e-3,
    milestones=(950, 975),
    factor=0.2,
    warmup_epochs=500 / 97,  # 500 steps
  )
  c.optimizer.weight_decay = 1e-6
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.method.update(sub_batch=64, iterations=4)
    c.method.projector.update(hidden=512, out=32)
  if variant == "smoke":
    c.method.projector.out = 2  # few dimensions for sub-batches of 8
  return common.finish(c, variant, "cpu")
