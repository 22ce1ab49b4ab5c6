"""MoCo on CIFAR-10, the authors' own demo (colab branch of facebookresearch/moco).

    python run.py --config configs/moco_v1_cifar10.py
    python run.py --config configs/moco_v1_cifar10.py:cpu    # reduced, without a GPU

v1's single-layer head and one-sided loss. Demo: kNN 82.6 after 200 epochs, 86.3
after 400, 88.7 after 800 (k = 200, temperature 0.1), of the head's 128 numbers; ours is
of the encoder's 512. Ours: not yet run in full.
"""

from configs import common


def get_config(variant: str = ""):
  c = common.base()
  common.cifar10(c)
  c.batch_size = 512
  c.epochs = 200

  c.augment.recipe = "moco_v2"
  c.augment.size = 32
  common.cifar10_statistics(c)
  c.augment.crop_min = 0.08
  c.augment.blur_p = 0.0

  c.encoder.name = "resnet18"
  c.encoder.stem = "cifar"
  c.encoder.stem_start = "torch"  # the demo puts a new convolution there
  c.encoder.bn_group_size = 64  # 8 splits of 512

  c.method.name = "moco"
  c.method.temperature = 0.1
  c.method.momentum = 0.99
  c.method.queue_size = 4096
  c.method.bn_shuffle = "permute"
  c.method.projector = dict(layers=1, out=128)

  c.optimizer.name = "sgd"
  c.optimizer.learning_rate = dict(kind="epoch_cosine", base=0.06)
  c.optimizer.momentum = 0.9
  c.optimizer.weight_decay = 5e-4
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
    c.encoder.bn_group_size = 16  # 8 splits, as of the full batch
    c.method.update(temperature=0.2, momentum=0.98, queue_size=2048)
    c.method.projector.update(last_norm="plain")  # see moco_v2_cifar10
  return common.finish(c, variant, "cpu")
