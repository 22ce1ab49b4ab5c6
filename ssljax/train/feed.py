"""Where a step's examples come from: whole batches, or rows of a set on the devices."""

from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from ssljax import data, sharding
from ssljax.core import Batch
from ssljax.fields import ConfigError
from ssljax.train import dispatch

SHARE = 1 / 8  # of a device's free memory, which "auto" lets a set take


class Feed:
  """What a dispatch takes beside the state: from the host, or from the devices."""

  def __init__(self, loader: data.Loader, table: Batch, mesh: Mesh):
    """Takes the whole set [N,...] as `table`, or {}: batches come from the host."""
    self.loader, self.table, self.mesh = loader, table, mesh
    self.lost = ""  # why the data can no longer be read

  @property
  def place(self) -> str:
    """Says where the examples of a step come from."""
    return "on the devices" if self.table else "from the host"

  def dispatches(
    self, done: int, counts: Iterator[int], k: int
  ) -> Iterator[tuple[int, Batch]]:
    """Yields how many steps each dispatch after `done` takes, and what of the host."""
    loader = self.loader
    batches = loader.numbers(done) if self.table else loader.iterate(done)
    return dispatch.stacked(batches, counts, k)

  def delivered(self, batches: Iterator) -> Iterator:
    """Yields the batches until the data can no longer be read; then `lost` says why."""
    try:
      yield from batches
    except (OSError, data.DataGoneError) as error:
      self.lost = " ".join(str(error).split())

  def put(self, count: int, batches: Batch) -> tuple[Any, jax.Array, Batch]:
    """Puts the process's share of stacked batches onto the devices, for a dispatch."""
    return dispatch.put(count, batches, self.mesh, self.table)

  def one(self, step: int, k: int) -> tuple[Any, jax.Array, Batch]:
    """Puts the examples of this step alone onto the devices, for a dispatch of k."""
    (alone,) = self.dispatches(step - 1, iter([1]), k)
    return self.put(*alone)

  def examples(self, step: int) -> Batch:
    """Returns the examples of a step, as global arrays [B,...]."""
    batches, _, table = self.one(step, 1)
    return dispatch.gathered(jax.tree.map(lambda x: x[0], batches), table)


def place(choice: str, loader: data.Loader, mesh: Mesh) -> tuple[Batch, str]:
  """Puts the whole training set on every device, as `data.on_device` says.

  -> the arrays [N,...], whose rows steps gather, and a sentence; {} and "" where steps
  get their examples from the host: streamed ones always, on CPUs unless asked.
  """
  whole = loader.whole
  if whole is None and choice == "yes":
    raise ConfigError(
      "data.on_device='yes' needs the data in memory; set data.in_memory=True, or "
      "data.on_device='auto'"
    )
  if whole is None or choice == "no":
    return {}, ""
  size, free = sum(x.nbytes for x in whole.values()), free_memory(mesh)
  if choice == "yes" and free is not None and size > free:
    raise ConfigError(
      f"data.on_device='yes' needs {size:,} bytes on every device, which has {free:,} "
      "free; set data.on_device='no'"
    )
  fits = choice == "yes" or (free is not None and size <= SHARE * free)
  if sharding.told("yes" if fits else "no") == "no":
    return {}, ""
  megabytes = f"{max(size / 1e6, 1):,.0f} MB"
  note = (
    f"The {loader.num_examples:,} examples lie on the devices, {megabytes} on each."
  )
  return sharding.put_whole(whole, mesh), note


def free_memory(mesh: Mesh) -> int | None:
  """Asks this process's devices for the least bytes free; None: they do not say."""
  stats = [device.memory_stats() for device in mesh.local_devices]
  if not all(stats) or jax.default_backend() == "cpu":
    return None
  return min(s["bytes_limit"] - s["bytes_in_use"] for s in stats)
