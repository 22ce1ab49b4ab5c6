"""How long a detector learns, how fast, and at which sizes: MoCo's numbers (2020)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Schedule(NamedTuple):
  """The numbers of one fine-tuning."""

  iterations: int
  steps: tuple[int, ...]  # where the learning rate falls to a tenth
  warmup: int = 1000  # iterations, from a thousandth
  scales: tuple[int, ...] = tuple(range(640, 801, 32))  # of the shorter side
  longest: int = 1333  # pixels of the longer one
  batch: int = 16
  rate: float = 0.02
  flip: float = 0.5
  anchor: int = 32  # pixels of the smallest of five
  rois: int = 512  # boxes of a picture that learn
  precise: int = 200  # batches that BatchNorm's statistics are taken over at the end


SCHEDULES = {
  "voc": Schedule(24000, (18000, 22000), 100, tuple(range(480, 801, 32))),
  "coco_1x": Schedule(90000, (60000, 80000)),
  "coco_2x": Schedule(180000, (120000, 160000)),
  "scenes": Schedule(
    900, (700, 850), 50, (64,), batch=4, flip=0.0, anchor=8, rois=32, precise=50
  ),
}


def shortened(plan: Schedule, iterations: int) -> Schedule:
  """Makes a schedule of other length, whose steps move in proportion."""
  steps = tuple(round(step * iterations / plan.iterations) for step in plan.steps)
  precise = min(plan.precise, iterations)
  return plan._replace(iterations=iterations, steps=steps, precise=precise)


def rate(plan: Schedule, i: int) -> float:
  """Returns the share of the learning rate in iteration `i`, from 0."""
  warm = min(1.0, 0.001 + 0.999 * i / max(1, plan.warmup))
  return warm * 0.1 ** sum(i >= step for step in plan.steps)


def batches(
  plan: Schedule, count: int, seed: int, rank: int = 0, world: int = 1
) -> Iterator[list[int]]:
  """Yields the share that process `rank` of `world` has of each batch, without end.

  All of `count` examples come once before any comes again, in an order by `seed`.
  """
  rng, order = np.random.default_rng(seed), []
  while True:
    while len(order) < plan.batch:
      order += rng.permutation(count).tolist()
    now, order = order[: plan.batch], order[plan.batch :]
    yield now[rank::world]
