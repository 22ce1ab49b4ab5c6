"""SimDINO on ImageNet (Wu et al. 2025): ViT-B/16, the official 100 epochs.

    python run.py --config configs/simdino_imagenet.py

Official: kNN 74.9, linear 77.3 (its DINO 72.9, 76.3). There the rate is of a GPU's 64
pictures, here of the batch; views, teacher and optimizer are DINO's. Ours: not yet run.
"""

from configs import common, dino_imagenet


def get_config(variant: str = ""):
  c = dino_imagenet.get_config()
  c.augment.local_views = 10
  c.encoder.name = "vit_b"
  tau, head = c.method.tau, c.method.projector
  c.method = dict(name="simdino", agreement=1.0, epsilon=0.05, tau=tau, projector=head)
  del c.optimizer.freeze_until
  return common.finish(c, variant)
