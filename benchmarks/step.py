"""One training step: SimCLR on ResNet-18 of CIFAR's form, with SGD.

    python benchmarks/step.py --batch 64 --widths 64 16

First from ready views on, beside the same step in PyTorch; then with the views drawn in
the step, beside ours without: what the ratio has above 1 is what they cost.
"""

import common
import jax
import numpy as np

from ssljax import data, recipe

torch_peers = common.peer("torch_peers")


def build(batch_size, width, quick):
  config = common.config("simclr_cifar10", quick=quick)
  config.batch_size = batch_size
  config.encoder.width = width
  config.optimizer = {"name": "sgd", "learning_rate": 0.1}
  plan = recipe.make_plan(config, batch_size)
  return config, recipe.build(config, plan)


def stepper(parts, batch):
  """-> a function that takes one step and waits for it."""
  state = jax.jit(parts.init)(batch)
  step = jax.jit(parts.step, donate_argnums=0)
  batch = jax.device_put(batch)

  def run():
    nonlocal state
    state, metrics = step(state, batch)
    return float(metrics["loss"])

  return run


def measure(batch_size, width, repeats, quick):
  config, parts = build(batch_size, width, quick)
  rng = np.random.default_rng(0)
  blank = data.zeros(data.spec(data.Pictures(config.data.size)), batch_size)
  batch = common.noise(blank)
  views = rng.normal(size=(batch_size, 2, 32, 32, 3)).astype(np.float32)
  ready = parts._replace(views=lambda rng, batch: batch)
  ready = stepper(ready, batch | {"image": views})
  theirs = torch_peers and torch_peers.simclr_step(views, width)
  case = f"SimCLR step, {batch_size} pictures, width {width}"
  common.compare(case, ready, {"PyTorch (CPU)": theirs}, repeats)
  drawn = stepper(parts, batch)
  common.compare(f"{case}, views drawn", drawn, {"ours, views ready": ready}, repeats)


def main():
  args = common.arguments(
    __doc__,
    batch=(64, 4, "pictures, of 2 views each"),
    widths=((64, 16), (4,), "channels of the first stage"),
    repeats=(9, 1, "of each"),
  )
  for width in args.widths:
    measure(args.batch, width, args.repeats, args.quick)


if __name__ == "__main__":
  main()
