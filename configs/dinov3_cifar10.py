"""DINOv3 on CIFAR-10: `dinov2_cifar10` with rotary positions and Gram anchoring.

    python run.py --config configs/dinov3_cifar10.py
    python run.py --config configs/dinov3_cifar10.py:cpu    # reduced, without a GPU

Not from a paper: anchored to the teacher of four fifths of the run, renewed twice,
which sees crops of 64 pixels, of twice the detail that there is. Schedules are
`dinov2_cifar10`'s: a constant one needs a run of many epochs. Ours: not yet run in
full; `:cpu` kNN 39.7 (random encoder 30.0).
"""

from configs import common, dinov2_cifar10


def get_config(variant: str = ""):
  reduced = variant in ("cpu", "smoke")
  c = dinov2_cifar10.get_config(variant if reduced else "")
  c.augment.larger = 64
  c.encoder.position = "rope"
  c.encoder.rope_rescale = 2.0
  if reduced:
    c.encoder.init_std = 0.1  # a narrow one: else all class tokens agree
  c.method.name = "dinov3"
  epoch = 50_000 // c.batch_size  # steps
  every = max(1, epoch * c.epochs // 15)
  first = 12 * every  # of its multiples is the first renewal
  c.method.gram_weight = dict(
    kind="steps", base=2.0, milestones=(0, first / epoch), factor=(0.0, 1.0)
  )
  c.method.gram_first = first
  c.method.gram_every = every
  c.method.gram_updates = 3
  if variant == "smoke":
    c.method.update(gram_first=1, gram_every=1)
    c.method.gram_weight.milestones = (0, 0)
  return common.finish(c, variant, "cpu")
