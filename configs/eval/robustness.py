"""Robustness: what a classifier of clean pictures gets right on corrupted ones.

    python run.py --config configs/eval/robustness.py --config.checkpoint=runs/dino

Fourteen corruptions in five severities, made on the device, with the numbers of
CIFAR-10-C, above 64 pixels with those of ImageNet-C (Hendrycks and Dietterich 2019).
Not made: glass blur, snow, frost, spatter and elastic. kNN votes with DINO's k = 20 and
temperature 0.07; `--config.robustness.by=linear` asks a linear probe. "kept" is the
accuracy on corrupted pictures in % of that on clean ones. "corrupted" is the mean of
the fourteen, speckle noise, Gaussian blur and saturation among them: no published mean.
"""

from configs.eval import common


def get_config():
  return common.base(
    "robustness",
    by="knn",
    corruptions=(),  # all; or some of ssljax.evals.corruptions.CORRUPTIONS
    severities=(1, 2, 3, 4, 5),
    k=20,
    temperature=0.07,
  )
