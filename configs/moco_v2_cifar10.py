"""MoCo v2 on CIFAR-10: the authors' CIFAR demo (`moco_v1_cifar10`) with v2's MLP head.

    python run.py --config configs/moco_v2_cifar10.py
    python run.py --config configs/moco_v2_cifar10.py:cpu    # reduced, without a GPU

v2 itself was published on ImageNet only. The demo without the MLP: kNN 82.6 after 200
epochs, of the head's numbers. Keys are normalised in strided groups, which moves no
image.
Ours: not yet run in full; `:cpu` kNN 49.5 (random encoder 29.9, centred pixels 41.2).
"""

from configs import common, moco_v1_cifar10


def get_config(variant: str = ""):
  c = moco_v1_cifar10.get_config()
  c.method.bn_shuffle = "strided"
  c.method.projector = dict(layers=2, hidden=512, out=128, norm=False)
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=5)
    c.encoder.bn_group_size = 16  # 8 splits, as of the full batch
    c.method.update(temperature=0.2, momentum=0.98, queue_size=2048)
    # MoCo v3's last BatchNorm keeps the queue's mean from running ahead of the keys'.
    c.method.projector.update(norm=True, last_norm="plain")
  return common.finish(c, variant, "cpu")
