"""DirectPred on ImageNet (Tian et al. 2021): BYOL's recipe with its predictor.

    python run.py --config configs/direct_pred_imagenet.py

Paper, linear: 64.4 after 60 epochs and 72.4 after 300; with a learned linear predictor
59.4 and 69.9. No code for ImageNet is published: all but the predictor is
`byol_imagenet`'s, save that the target starts as a copy. Ours: not yet run.
"""

from configs import byol_imagenet, common


def get_config(variant: str = ""):
  c = byol_imagenet.get_config()
  c.epochs = 60
  c.method.name = "direct_pred"
  c.method.rho = 0.3
  c.method.epsilon = 0.01
  del c.method.predictor
  return common.finish(c, variant)
