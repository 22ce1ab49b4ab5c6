"""SimCLR v2 on CIFAR-10: its small selective network, three-layer head and memory.

    python run.py --config configs/simclr_v2_cifar10.py
    python run.py --config configs/simclr_v2_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: v2 was published on ImageNet only. From its author come learning
rate and temperature for CIFAR-10 without a memory (google-research/simclr, issue 166,
with a head of two layers, 64 wide at its end), from MoCo's demo the queue. Ours: not
yet run in full.
"""

from configs import common, simclr_cifar10


def get_config(variant: str = ""):
  c = simclr_cifar10.get_config()
  c.encoder.name = "resnet50"
  c.encoder.sk_ratio = 0.0625

  c.method.name = "simclr_v2"
  c.method.temperature = 0.2
  c.method.momentum = 0.99
  c.method.queue_size = 4096
  c.method.projector.update(layers=3, hidden=2048, hidden_bias=False)

  c.optimizer.learning_rate.base = 0.2
  c.optimizer.scaling = "sqrt"
  if variant == "cpu":
    common.cpu(c, batch_size=128, epochs=1)
    c.encoder.update(name="resnet18", sk_ratio=0.0)  # SK costs four times the time
    c.method.update(momentum=0.98, queue_size=2048)
    c.method.projector.hidden = 512
    c.augment.crop_min = 0.2
    c.evals.probe.learning_rate = 0.0
  return common.finish(c, variant, "cpu")
