"""Where arrays live. The only file that names a mesh axis.

The batch is split over every device of every process; the state is replicated, except
what a method says is to be split by rows, and the large arrays of a run that asks for
it. The mathematics never changes with it.
"""

import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterable

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "data"
HEARTBEAT = 30  # seconds without a sign of life, after which a process is dead


def start_processes() -> None:
  """Joins the other processes of this run, where the environment names any.

  `jax.distributed` finds Slurm, Open MPI and TPUs under GKE itself; elsewhere set
  JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. One that dies ends the
  others, who name it, within HEARTBEAT seconds and a little.
  """
  if jax.distributed.is_initialized():
    return
  if "JAX_COORDINATOR_ADDRESS" in os.environ:
    jax.distributed.initialize(
      os.environ["JAX_COORDINATOR_ADDRESS"],
      int(os.environ["JAX_NUM_PROCESSES"]),
      int(os.environ["JAX_PROCESS_ID"]),
      heartbeat_timeout_seconds=HEARTBEAT,
    )
  elif _cluster_size() > 1:
    jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT)
  else:
    return
  if threading.current_thread() is threading.main_thread():
    # JAX ends a process by abort(), and has said why: no dump of every thread, please.
    signal.signal(signal.SIGABRT, signal.SIG_DFL)


def _cluster_size() -> int:
  slurm = "SLURM_NTASKS" if "SLURM_STEP_NODELIST" in os.environ else ""  # by srun
  sizes = [os.environ.get(k, "1") for k in (slurm, "OMPI_COMM_WORLD_SIZE")]
  tpu_hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
  return max(len(tpu_hosts), *(int(s) for s in sizes if s.isdigit()))


def leave(why: str) -> None:
  """Ends this process at once, in a sentence; the others, who wait for it, name it."""
  print(
    f"error: process {jax.process_index()} leaves: {why}; the last checkpoint is "
    "whole, and the same line continues",
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)  # in order it would wait for the others


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """Makes a mesh of one axis over all devices of the run, or over the given ones."""
  devices = jax.devices() if devices is None else devices
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """Shards nothing: every device holds the whole array."""
  return NamedSharding(mesh, P())


def by_rows(mesh: Mesh) -> NamedSharding:
  """Shards axis 0 over the devices."""
  return NamedSharding(mesh, P(AXIS))


def by_steps(mesh: Mesh) -> NamedSharding:
  """Shards axis 1, the batch, over the devices; axis 0 counts steps."""
  return NamedSharding(mesh, P(None, AXIS))


def state_sharding(state, mesh: Mesh, by_row: Iterable[str] = (), least: int = 0):
  """Makes a tree of shardings like `state`, a tree of arrays or shapes.

  Entries named in `by_row` are split by rows where the devices divide them. So are,
  along their largest axis that the devices divide, all arrays of `least` numbers and
  more; 0: none.
  """

  def place(path, leaf):
    axes = [axis for axis, n in enumerate(leaf.shape) if n % mesh.size == 0]
    if any(getattr(k, "key", None) in by_row for k in path):
      return by_rows(mesh) if 0 in axes else replicated(mesh)
    if not axes or not least or leaf.size < least:
      return replicated(mesh)
    largest = max(axes, key=lambda axis: (leaf.shape[axis], axis))
    return NamedSharding(mesh, P(*[None] * largest, AXIS))

  return jax.tree_util.tree_map_with_path(place, state)


# Inside a program: says where the arrays of a tree lie, by a tree of shardings.
pin = jax.lax.with_sharding_constraint


def lay(tree, layout):
  """Lays a tree of global arrays out anew, by a tree of shardings of the same mesh."""
  return jax.jit(lambda x: x, out_shardings=layout)(tree)


def put_batch(batch, sharding: NamedSharding):
  """Puts the process's share of a batch (NumPy tree) onto devices -> global arrays."""
  # With several processes JAX takes this for a transfer that nobody asked for.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def put_whole(tree, mesh: Mesh):
  """Puts arrays (NumPy tree) on every device, without asking other processes."""
  with jax.transfer_guard_host_to_device("allow"):
    return jax.tree.map(
      lambda x: jax.make_array_from_callback(
        x.shape, replicated(mesh), lambda _: np.asarray(x)
      ),
      tree,
    )


def gather_text(text: str) -> list[str]:
  """Gathers what each process says, in their order, on every one of them."""
  if jax.process_count() == 1:
    return [text]
  letters = np.frombuffer(text.encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.asarray(len(letters))).ravel()
  padded = np.pad(letters, (0, max(1, lengths.max()) - len(letters)))
  rows = multihost_utils.process_allgather(padded)
  return [row[:n].tobytes().decode() for row, n in zip(rows, lengths, strict=True)]


def exists(path: pathlib.Path) -> bool:
  """Whether process 0 finds something there; all processes ask together.

  On a shared disk one may see late what another wrote, and they must not part ways.
  """
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(path.exists())))


def told(text: str) -> str:
  """Returns what process 0 says, on every process; all ask together."""
  return gather_text(text)[0]
