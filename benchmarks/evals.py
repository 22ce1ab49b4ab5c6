"""What judging an encoder costs: extraction, and a grid of linear probes.

    python benchmarks/evals.py

Features of pictures in memory through loading, padding and gathering, beside as many
forward passes on one batch that is on the device already. And a step of all heads of
`configs/eval/linear_grid.py` beside a step of one head.
"""

import common
import jax
from loop import Noise

from configs.eval import linear_grid
from ssljax import data, recipe, sharding
from ssljax.encoder import Trained
from ssljax.judge import Judge
from ssljax.protocols import transfer
from ssljax.train import dispatch

CLASSES = 10


class Labelled(Noise):
  """Noise with labels."""

  num_classes = CLASSES

  def __getitem__(self, index):
    return {**super().__getitem__(index), "label": index % CLASSES}


class Setting:
  """An untrained run on noise, as a protocol finds one."""

  def __init__(self, config, pictures):
    self.config = config
    self.source = Labelled(pictures, self.config.data.size)
    self.mesh = sharding.make_mesh()
    self.plan = recipe.make_plan(self.config, pictures, CLASSES)
    self.parts, self.state = self.build(self.config)
    splits = data.Splits(self.source, self.source)
    self.judge = Judge(self.config, self.parts, splits, self.mesh)

  def batch(self, rows):
    """One of `rows` pictures, on the device."""
    batch = next(self.judge.batches(self.source, rows))
    return sharding.put_batch(batch, sharding.by_rows(self.mesh))

  def build(self, config):
    """-> its parts, and a state at step 0."""
    plan = recipe.make_plan(config, len(self.source), CLASSES)
    parts = recipe.build(config, plan)
    blank = data.zeros(self.source.spec(config.data.size), config.batch_size)
    return parts, dispatch.compile_init(parts.init, blank, self.mesh)()

  def extraction(self):
    """-> all of the source through the judge; as many forward passes."""
    rows = self.config.batch_size
    embed, batch = self.judge.embedding(self.state), self.batch(rows)

    def forward():
      for _ in range(len(self.source) // rows):
        features = embed(batch)
        jax.block_until_ready(features)  # else a CPU computes several at once

    return lambda: self.judge.extract(embed), forward

  def probe(self, batch_size, **fields):
    """-> a step of the grid's run, with `fields` of its method; and how many heads."""
    spec = self.source.spec(self.config.data.size)
    trained = Trained(self.config, self.parts, self.state, spec, self.plan, "", {})
    training = linear_grid.get_config().training
    training.batch_size = batch_size
    training.method.update(fields)
    parts, state = self.build(transfer.compose(training, "", trained, {}))
    step, batch = jax.jit(parts.step), self.batch(batch_size)
    return lambda: jax.block_until_ready(step(state, batch)), parts.method.heads(state)


def main():
  args = common.arguments(
    __doc__,
    pictures=(4096, 128, "whose features are extracted"),
    batch=(256, 16, "pictures of a step of the probes"),
    repeats=(5, 1, "of each"),
  )
  for name in ("simclr_cifar10", "mae_cifar10")[: 1 if args.quick else 2]:
    setting = Setting(common.config(name, "cpu", args.quick), args.pictures)
    ours, forward = setting.extraction()
    facts = {"config": f"{name}:{'smoke' if args.quick else 'cpu'}"}
    common.compare(
      "features of a picture",
      ours,
      {"forward pass": forward},
      args.repeats,
      per=args.pictures,
      **facts,
    )
    grid, heads = setting.probe(args.batch)
    one, _ = setting.probe(args.batch, rates=(1.0,), choices=("pooled",))
    facts |= {"batch": args.batch, "heads": len(heads)}
    common.compare("step of the grid", grid, {"one head": one}, args.repeats, **facts)


if __name__ == "__main__":
  main()
