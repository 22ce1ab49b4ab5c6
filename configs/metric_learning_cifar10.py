"""Metric learning on CIFAR-10: any of six losses in the recipe of `simclr_cifar10`.

    python run.py --config configs/metric_learning_cifar10.py
    python run.py --config configs/metric_learning_cifar10.py --config.method.loss=nce
    python run.py --config configs/metric_learning_cifar10.py:cpu  # without a GPU

`method.loss` is info_nce, n_pair, nce, logistic, margin, or triplet with
`method.mining` all, hard or semi_hard. Positives share a label; with
`method.labels=False` they are views of one picture. With labels, recipes of one view
such as `augment.recipe=instdisc` do as well. Not from a paper. Table 4 of SimCLR's
compares some of the losses on ImageNet, without labels: linear 50.9 with triplets,
57.5 with semi-hard ones, 51.6 with the logistic loss and 63.9 with InfoNCE.
Ours: not yet run in full.
"""

from configs import common, simclr_cifar10


def get_config(variant: str = ""):
  c = simclr_cifar10.get_config()
  c.epochs = 200
  c.method.name = "metric_learning"
  c.method.loss = "info_nce"
  c.method.labels = True
  c.method.margin = 0.5
  c.method.mining = "semi_hard"
  c.method.l2 = 0.002
  c.method.temperature = 0.1
  c.method.projector.layers = 2
  c.evals.probe.learning_rate = 0.0
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.augment.crop_min = 0.2
  return common.finish(c, variant, "cpu")
