"""SwAV on ImageNet with 256 pictures a step (Caron et al. 2020) and a queue.

    python run.py --config configs/swav_imagenet_small_batch.py

Paper: linear 72.7 (200 epochs), 74.3 (400 epochs). From epoch 15 on the assignments
are over the batch and the last 3840 pictures. Ours: not yet run.
"""

from configs import common, swav_imagenet


def get_config(variant: str = ""):
  c = swav_imagenet.get_config()
  c.batch_size = 256
  c.epochs = 200
  c.method.queue_size = 3840
  c.method.queue_epoch = 15
  c.optimizer.learning_rate = dict(kind="cosine", base=0.6, end=0.0006)
  c.optimizer.freeze_until = {"prototypes": 5005 / 5004}  # epochs: 5005 steps
  return common.finish(c, variant)
