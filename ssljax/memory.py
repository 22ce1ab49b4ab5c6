"""What a method remembers between steps, as pure moves: state in, state out."""

import jax
import jax.numpy as jnp
import optax

from ssljax.fields import ConfigError

# Bank rows are padded to a multiple of this, so that any usual number of devices
# divides them and a checkpoint fits every mesh. Padding rows are never read.
BANK_ROWS = 1024


def ema(new, old, decay: jax.Array | float):
  """Averages trees exponentially: decay * old + (1 - decay) * new."""
  return optax.incremental_update(new, old, 1 - decay)


def slow(params, batch_stats) -> dict:
  """Copies a network as `target` holds its slow copy: {"params", "batch_stats"}."""
  return {"params": params, "batch_stats": batch_stats}


def follow(target: dict, params, batch_stats, decay: jax.Array | float) -> dict:
  """Moves the slow copy in `target` towards `params`; its statistics are as given."""
  moved = ema(params, target["params"], decay)
  return {**target, **slow(moved, batch_stats)}


def refresh(old, new, due: jax.Array):
  """Replaces a tree by another where bool[] `due` says so."""
  return jax.lax.cond(due, lambda: new, lambda: old)


def unit_rows(rng: jax.Array, rows: int, dim: int) -> jax.Array:
  """Draws [rows, dim] f32 of random directions: how MoCo's queue starts."""
  x = jax.random.normal(rng, (rows, dim))
  return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def enqueue(
  queue: jax.Array, pointer: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Writes keys [B,...] over the oldest rows of queue [K,...] -> queue, pointer.

  A row is one example's. `pointer` i32[] is the row written next. B must divide K, as
  in MoCo's code: then no write wraps, and the update is one `dynamic_update_slice`.
  """
  if queue.shape[0] % keys.shape[0]:
    raise ConfigError(
      f"queue_size={queue.shape[0]} must be a multiple of the batch of "
      f"{keys.shape[0]}; try {keys.shape[0] * max(1, queue.shape[0] // keys.shape[0])}"
    )
  keys = keys.astype(queue.dtype)
  queue = jax.lax.dynamic_update_slice_in_dim(queue, keys, pointer, axis=0)
  return queue, (pointer + keys.shape[0]) % queue.shape[0]


def nearest(queue: jax.Array, rows: jax.Array) -> jax.Array:
  """Finds the row of queue [K,D], of unit rows, nearest in direction to each of [B,D].

  NNCLR's neighbours, [B,D]. Each device looks up its own examples.
  """
  similarity = jnp.matmul(rows, queue.T, precision=jax.lax.Precision.HIGHEST)
  return queue[similarity.argmax(1)]


def init_bank(rng: jax.Array, num_examples: int, dim: int) -> jax.Array:
  """Draws a bank [N,D] f32 uniform in ±1/sqrt(D/3), N padded.

  As InstDisc's `lib/LinearAverage`.
  """
  rows = -(-num_examples // BANK_ROWS) * BANK_ROWS
  bound = (dim / 3) ** -0.5
  return jax.random.uniform(rng, (rows, dim), minval=-bound, maxval=bound)


def bank_write(
  bank: jax.Array, index: jax.Array, embedding: jax.Array, momentum: float
) -> jax.Array:
  """Moves rows `index` [B] of bank [N,...,D] to embedding [B,...,D], on the sphere.

  v <- m v + (1 - m) f, then v <- v / |v|: InstDisc's code; its paper has m = 0.
  """
  rows = momentum * bank[index] + (1 - momentum) * embedding
  rows = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
  return bank.at[index].set(rows.astype(bank.dtype))


def move_centre(centre: jax.Array, batch_mean: jax.Array, momentum: float) -> jax.Array:
  """Moves DINO's centre [1,K] towards a batch's mean teacher output [1,K]."""
  return momentum * centre + (1 - momentum) * batch_mean
