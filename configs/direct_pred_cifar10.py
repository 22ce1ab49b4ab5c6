"""DirectPred on CIFAR-10: `byol_cifar10` with the predictor and SGD of its code.

    python run.py --config configs/direct_pred_cifar10.py
    python run.py --config configs/direct_pred_cifar10.py:cpu    # reduced

Paper: about what BYOL's two layers reach in 100 epochs. Views, encoder and head are
those of `byol_cifar10`. Ours: not yet run.
"""

from configs import byol_cifar10, common


def get_config(variant: str = ""):
  reduced = variant == "cpu"
  c = byol_cifar10.get_config("cpu" if reduced else "")
  c.method.name = "direct_pred"
  c.method.rho = 0.3
  c.method.epsilon = 0.01
  del c.method.predictor
  if reduced:
    del c.optimizer.groups
  else:
    c.batch_size = 128
    c.epochs = 100
    c.method.tau = 0.996
    c.optimizer = dict(name="sgd", learning_rate=0.03, momentum=0.9, weight_decay=4e-4)
  return common.finish(c, variant, "cpu")
