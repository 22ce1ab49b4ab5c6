"""What a device holds of a run's state, whole and split over the devices.

    python benchmarks/split_state.py

Counted from shapes: nothing is compiled, no array is made. ViTs of DINOv2's sizes under
configs/dino_imagenet.py, AdamW: the network, its slow copy, two moments, all heads.
"In a step" has what networks see, whole for as long as it lasts, without gradients.
"""

import math

import common
import jax
from jax.sharding import AbstractMesh, AxisType

from ssljax import data, recipe, sharding

SIZES = {  # name -> width, depth, heads; of DINOv2
  "ViT-S": (384, 12, 6),
  "ViT-L": (1024, 24, 16),
  "ViT-g": (1536, 40, 24),
}


def shapes(width, depth, heads, quick):
  """The state of DINO with this encoder, by shape and dtype -> it, its parts."""
  config = common.config("dino_imagenet", quick=quick)
  if not quick:
    config.encoder.update(width=width, depth=depth, heads=heads)
    config.encoder.patch_size = 14
  config.evals.probe.learning_rate = 0.0
  plan = recipe.make_plan(config, 1_281_167)
  parts = recipe.build(config, plan)
  spec = data.spec(data.Pictures(config.data.size))
  return recipe.shapes(parts, data.zeros(spec, config.batch_size)), parts


def mebibytes(state, parts, devices, least):
  """What one of so many devices holds of a state."""
  mesh = AbstractMesh((devices,), (sharding.AXIS,), axis_types=(AxisType.Auto,))
  layout = sharding.state_sharding(state, mesh, parts.method.by_row, least)
  held = jax.tree.map(
    lambda x, s: math.prod(s.shard_shape(x.shape)) * x.dtype.itemsize, state, layout
  )
  return sum(jax.tree.leaves(held)) / 2**20


def main():
  args = common.arguments(
    __doc__,
    devices=((8, 64), (8,), "devices"),
    least=(2**16, 2**6, "numbers from which an array is split"),
  )
  print("| DINO with | parameters, M | devices | whole, MiB | split | in a step |")
  print("|---|---|---|---|---|---|")
  for name, size in list(SIZES.items())[: 1 if args.quick else None]:
    state, parts = shapes(*size, args.quick)
    millions = sum(x.size for x in jax.tree.leaves(state.params)) / 1e6
    seen = mebibytes(state.replace(opt_state=None), parts, 1, 0)
    whole = mebibytes(state, parts, 1, 0)
    for devices in args.devices:
      split = mebibytes(state, parts, devices, args.least)
      cells = f"{whole:,.0f} | {split:,.0f} | {split + seen:,.0f}"
      print(f"| {name} | {millions:,.1f} | {devices} | {cells} |")


if __name__ == "__main__":
  main()
