"""Value and gradient of the contrastive losses, and the memory that they take.

    python benchmarks/loss.py

Memory is what the compiled program sets aside, as XLA tells before it runs.
"""

import functools

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax.losses import contrastive

torch_peers = common.peer("torch_peers")

DIM = 128
TEMPERATURE = 0.1
TOO_MUCH = 4000  # MB of temporaries with which a peer is compiled, but not run


def normal(*shape):
  rng = np.random.default_rng(0)
  return rng.normal(size=shape).astype(np.float32)


def compiled(loss, *args):
  """-> a function that computes value and gradient by the first argument, its MB."""
  program = jax.jit(jax.value_and_grad(loss)).lower(*args).compile()
  args = jax.device_put(args)
  memory = program.memory_analysis().temp_size_in_bytes / 1e6
  return lambda: jax.block_until_ready(program(*args)), memory


def torch_run(name, *args):
  if not torch_peers:
    return None
  loss = getattr(torch_peers, name)
  return torch_peers.value_and_grad(loss, *args, temperature=TEMPERATURE)


def nt_xent(batch_size, repeats):
  z = normal(batch_size, 2, DIM)
  rows = z.reshape(-1, DIM)
  labels = jnp.repeat(jnp.arange(batch_size), 2)
  ours, memory = compiled(
    functools.partial(contrastive.nt_xent, temperature=TEMPERATURE), z
  )
  theirs, their_memory = compiled(
    lambda rows: optax.losses.ntxent(rows, labels, TEMPERATURE), rows
  )
  if their_memory > TOO_MUCH:
    theirs = f"needs {their_memory:.0f} MB"
  case = f"nt_xent, {batch_size} x 2 rows"
  peers = {"PyTorch (CPU)": torch_run("nt_xent", rows), "optax": theirs}
  common.compare(case, ours, peers, repeats)
  figures = {"temporary_mb": memory}, "optax", {"temporary_mb": their_memory}
  common.report(f"{case}, memory", *figures)


def info_nce(batch_size, queue_size, repeats):
  query, key, queue = np.split(
    normal(2 * batch_size + queue_size, DIM), [batch_size, 2 * batch_size]
  )
  queue /= np.linalg.norm(queue, axis=1, keepdims=True)
  ours, _ = compiled(
    functools.partial(contrastive.info_nce, temperature=TEMPERATURE), query, key, queue
  )
  theirs = torch_run("info_nce", query, key, queue)
  case = f"info_nce, {batch_size} rows, queue of {queue_size}"
  common.compare(case, ours, {"PyTorch (CPU)": theirs}, repeats)


def main():
  args = common.arguments(
    __doc__,
    batches=((512, 2048), (16, 32), "pictures of NT-Xent, of 2 views each"),
    queries=(256, 16, "of InfoNCE"),
    queue=(65536, 64, "keys of InfoNCE"),
    repeats=(9, 1, "of each"),
  )
  for batch_size in args.batches:
    nt_xent(batch_size, args.repeats)
  info_nce(args.queries, args.queue, args.repeats)


if __name__ == "__main__":
  main()
