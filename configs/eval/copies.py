"""Copy detection: whether an edited test picture finds the one it was made of.

    python run.py --config configs/eval/copies.py --config.checkpoint=runs/dino_cifar10

After Copydays (Douze et al. 2009). DINO reports mAP on its strong subset, among 10000
distractors and with patch features pooled and whitened (Caron et al. 2021, section
4.2). Here the test split is the database, its pictures are cropped, compressed,
blurred, relit, turned, written on and mixed on the device, and features are those that
kNN sees.
"""

from configs.eval import common


def get_config():
  return common.base("copies", edits=(), queries=500, seed=0)  # (): all edits
