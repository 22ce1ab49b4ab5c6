"""Contrastive losses whose scores are seen in tiles, beside all scores as one array.

    python benchmarks/contrast.py

Value and gradient: their time on one device, and the memory a device that XLA sets
aside for temporaries on one and on eight (virtual) devices, compiled for shapes alone.
"""

import os

DEVICES = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"

import math
from collections.abc import Callable
from typing import NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np

from ssljax import sharding
from ssljax.losses import clustering, contrastive, paired, pairwise, supervised

TEMPERATURE = 0.1
SCALE = jnp.float32(10)


def shape(*sizes, dtype=np.float32):
  return jax.ShapeDtypeStruct(sizes, dtype)


class Case(NamedTuple):
  """A loss, the shapes of its arguments, and which of them have a gradient.

  Arguments from number `whole` on lie whole on each device, the others split by rows.
  """

  loss: Callable
  shapes: tuple
  argnums: int | tuple[int, ...]
  whole: int = 2


def cases(n, dim):
  """Name -> the loss of n rows of `dim` numbers: views, pairs, or crops in tens."""
  views, rows = shape(n // 2, 2, dim), shape(n, dim)
  label, crops = shape(n // 2, dtype=np.int32), shape(n // 8, 10, dim)
  prototypes, centre = shape(n, dim), shape(1, n)
  return {
    "nt_xent": Case(lambda z: contrastive.nt_xent(z, TEMPERATURE), (views,), 0),
    "dcl": Case(lambda z: contrastive.dcl(z, TEMPERATURE), (views,), 0),
    "sup_con": Case(
      lambda z, y: supervised.sup_con(z, y, TEMPERATURE, TEMPERATURE),
      (views, label),
      0,
    ),
    "info_nce_in_batch": Case(
      lambda q, k: contrastive.info_nce_in_batch(q, k, TEMPERATURE),
      (rows, rows),
      (0, 1),
    ),
    "clip": Case(lambda i, t: paired.clip(i, t, SCALE)[0], (rows, rows), (0, 1)),
    "siglip": Case(
      lambda i, t: paired.siglip(i, t, SCALE, -SCALE)[0], (rows, rows), (0, 1)
    ),
    "dino": Case(dino, (crops, crops, prototypes, prototypes, centre), (0, 2)),
  }


def dino(student, teacher, own, slow, centre):
  student, teacher, own, slow = map(contrastive.unit, (student, teacher, own, slow))
  own, slow = clustering.Prototypes(own), clustering.Prototypes(slow)
  return clustering.dino(student, teacher[:, :2], own, slow, centre, 0.1, 0.04)[0]


def compiled(case, devices=1):
  """Value and gradient, rows split over the devices."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  rows, whole = sharding.by_rows(mesh), sharding.replicated(mesh)
  layout = [rows if i < case.whole else whole for i in range(len(case.shapes))]
  by = jax.tree.map(lambda i: layout[i], case.argnums)
  step = jax.jit(
    jax.value_and_grad(case.loss, case.argnums),
    in_shardings=layout,
    out_shardings=(None, by),
  )
  return step.lower(*case.shapes).compile()


def as_one_array(case, **devices):
  """The same program with all scores as one array, however many."""
  usual, pairwise.ONE_ARRAY = pairwise.ONE_ARRAY, math.inf
  try:
    return compiled(case, **devices)
  finally:
    pairwise.ONE_ARRAY = usual


def time(name, case, repeats):
  rng = np.random.default_rng(0)
  args = [
    jax.device_put(np.asarray(3 * rng.normal(size=x.shape), x.dtype))
    for x in case.shapes
  ]
  tiled, whole = compiled(case), as_one_array(case)
  common.compare(
    name,
    lambda: jax.block_until_ready(tiled(*args)),
    {"one array": lambda: jax.block_until_ready(whole(*args))},
    repeats,
  )


def memory(name, case, devices):
  def temporary(program):
    return {"temporary_mib": program.memory_analysis().temp_size_in_bytes / 2**20}

  ours, theirs = (form(case, devices=devices) for form in (compiled, as_one_array))
  common.report(
    f"{name}, {devices} devices", temporary(ours), "one array", temporary(theirs)
  )


def main():
  args = common.arguments(
    __doc__,
    rows=(8192, 512, "that are timed"),
    dim=(128, 16, "numbers of a row that is timed"),
    large=(65536, 512, "rows that are compiled alone"),
    width=(512, 16, "numbers of such a row"),
    repeats=(5, 1, "of each"),
    losses=(tuple(cases(2, 1)), ("nt_xent", "clip", "dino"), "by name"),
  )
  if args.quick:  # tiles of small things
    pairwise.ONE_ARRAY = args.rows**2 // 4
    pairwise.IN_A_TILE = args.rows**2 // 4
  timed, large = cases(args.rows, args.dim), cases(args.large, args.width)
  for name in args.losses:
    time(f"{name}, {args.rows} rows of {args.dim}", timed[name], args.repeats)
  for name in args.losses:
    for devices in (1, 8):
      memory(f"{name}, {args.large} rows of {args.width}", large[name], devices)


if __name__ == "__main__":
  main()
