"""A step through the loop beside the bare compiled step: what the house costs.

    python benchmarks/loop.py

The loop loads, prefetches, logs every so many steps and writes; the bare step gets one
batch that is on the device already, and is waited for once at the end.
"""

import contextlib
import io
import tempfile
import time

import common
import jax
import numpy as np

from ssljax import data, recipe, runs, sharding, train
from ssljax.checkpoint import Checkpoints
from ssljax.judge import Judge
from ssljax.runs import stop
from ssljax.runs.writer import Writer
from ssljax.train import dispatch
from ssljax.train.feed import Feed
from ssljax.train.loop import Run
from ssljax.train.pace import Pace


class Noise(data.Source):
  """Pictures uint8 [N,S,S,3] without labels."""

  name = "noise"

  def __init__(self, n, size):
    self.images = np.random.default_rng(0).integers(
      0, 256, (n, size, size, 3), np.uint8
    )

  def __len__(self):
    return len(self.images)

  def __getitem__(self, index):
    return {"image": self.images[index], "label": -1}


class Clock(Writer):
  """Remembers when each step's metrics were written: then its work is done."""

  def __init__(self, *args):
    super().__init__(*args)
    self.at = {}

  def write(self, step, metrics, images=None):
    """As every writer does, then looks at the clock."""
    super().write(step, metrics, images)
    self.at[step] = common.clock()


class Setting:
  """A run on noise: its loop, and its step alone."""

  def __init__(self, config, steps, log_every):
    self.config, self.steps = config, steps
    config.log_every = log_every
    config.steps = config.checkpoint.every_steps = log_every + steps
    self.source = Noise(4 * config.batch_size, config.data.size)
    self.plan = recipe.make_plan(config, len(self.source), self.source.num_classes)
    self.parts = recipe.build(config, self.plan)
    self.mesh = sharding.make_mesh()
    blank = data.zeros(self.source.spec(config.data.size), config.batch_size)
    self.traced = recipe.trace(self.parts, blank, self.mesh)
    self.init = dispatch.compile_init(self.traced.init, blank, self.mesh)
    self.loader = train.open_loader(config, self.source)
    splits = data.Splits(self.source, None)
    self.judge = Judge(config, self.parts, splits, self.mesh)
    layout = jax.tree.map(lambda x: x.sharding, self.init())
    self.bare_step = dispatch.compile_steps(self.parts.step, layout, self.mesh, 1)

  def loop(self):
    """From the first log point on, which the first step reaches once compiled."""
    state = self.init()
    before = jax.device_put(np.int32(self.config.log_every - 1), state.step.sharding)
    with (
      tempfile.TemporaryDirectory() as folder,
      stop.Stop() as stopping,
      Checkpoints(folder, **self.config.checkpoint) as checkpoints,
      Clock(folder, self.config, self.plan) as writer,
      contextlib.redirect_stdout(io.StringIO()),
    ):
      parts = self.config, self.parts, self.plan, self.mesh, self.judge
      pace = Pace(self.config.batch_size, self.loader.cure, time.monotonic())
      past = runs.History(0, ((0, self.plan.total_steps),))
      about = checkpoints, writer, stopping, past, self.traced, self.init
      run = Run(*parts, {}, *about, Feed(self.loader, {}, self.mesh), pace)
      run.train(state.replace(step=before))
    return common.between(
      writer.at[self.config.log_every], writer.at[self.config.steps], self.steps
    )

  def bare(self):
    """The same number of steps on one batch."""
    batches = dispatch.stacked(self.loader.iterate(), iter([1]), 1)
    batch = dispatch.put(*next(batches), self.mesh)
    state, metrics = self.bare_step(self.init(), *batch)
    jax.block_until_ready(metrics)
    start = common.clock()
    for _ in range(self.steps):
      state, metrics = self.bare_step(state, *batch)
    jax.block_until_ready(metrics)
    return common.between(start, common.clock(), self.steps)


def main():
  args = common.arguments(
    __doc__,
    steps=(100, 2, "that are timed, a multiple of --log_every"),
    log_every=(50, 2, "steps"),
    batch=(128, 16, "pictures of CIFAR-10's size"),
    width=(16, 4, "channels of its first stage"),
    repeats=(5, 1, "of each"),
  )
  cifar10, digits = (
    common.config(name, quick=args.quick)
    for name in ("simclr_cifar10", "simclr_digits")
  )
  cifar10.batch_size, cifar10.encoder.width = args.batch, args.width
  small = f"simclr_cifar10, width {args.width}, batch {args.batch}"
  cases = {"simclr_digits": digits, small: cifar10}
  with tempfile.TemporaryDirectory() as cache:  # the loop compiles in every repeat
    jax.config.update("jax_compilation_cache_dir", cache)
    for name, config in cases.items():
      setting = Setting(config, args.steps, args.log_every)
      ours, bare = common.medians(args.repeats, setting.loop, setting.bare)
      facts = {"steps": args.steps, "repeats": args.repeats}
      common.report(f"step in the loop, {name}", ours, "bare step", bare, **facts)


if __name__ == "__main__":
  main()
