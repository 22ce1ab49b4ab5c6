"""An attentive probe: one learned query attends over frozen features of patches.

    python run.py --config configs/eval/attentive.py --config.checkpoint=runs/mae

Beside a linear probe of the pooled features. A block of cross-attention and a linear
classifier, as CAE (Chen et al. 2024) and V-JEPA's code (Bardes et al. 2024; AdamW, rate
and decay 0.001) have it, on pictures without augmentation. Features of all patches lie
in temporary files while it learns: TMPDIR says where.
"""

from configs.eval import common


def get_config():
  return common.base(
    "attentive",
    block="",  # of the encoder; "": the last
    steps=4000,  # V-JEPA: 20 epochs of ImageNet, 25000 of 1024
    batch=256,
    learning_rate=1e-3,
    weight_decay=1e-3,
    seed=0,
  )
