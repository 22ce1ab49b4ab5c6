"""What a head reads from the frozen features of patches: a class, or a depth, a pixel.

A head maps features [B,h,w,D] to pixels [B,S,S,...] by a bilinear resize. It is trained
on one device, in an order that is a function of its seed.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

BATCH = 16  # pictures that are looked at together, where nothing learns
RAW_SIDE = 8  # pixels of a raw patch


class Maps(NamedTuple):
  """Features of the patches of both splits' pictures, and the truth of each pixel."""

  train_x: np.ndarray  # f32 [N,h,w,D]
  train_y: np.ndarray  # [N,S,S]
  test_x: np.ndarray  # f32 [M,h,w,D]
  test_y: np.ndarray  # [M,S,S]
  test_index: np.ndarray | None = None  # i32 [M], the pictures' places in the data


def raw_patches(image: jax.Array, height: int, width: int) -> jax.Array:
  """Cuts pictures uint8 [B,S,S,C] into patches: their pixels, f32 [B,h,w,D] in [0,1].

  An encoder that does nothing, of a grid height x width. A patch of more than 8 x 8
  pixels is scaled down to that.
  """
  side = max(1, min(RAW_SIDE, image.shape[1] // max(height, width)))
  shape = (len(image), height * side, width * side, image.shape[3])
  x = jax.image.resize(image.astype(jnp.float32) / 255, shape, "linear")
  x = x.reshape(len(image), height, side, width, side, image.shape[3])
  return jnp.moveaxis(x, 3, 2).reshape(len(image), height, width, -1)


def resize(x: jax.Array, side: int) -> jax.Array:
  """Resizes [B,h,w,C] to [B,side,side,C], bilinear, between centres of pixels.

  As PyTorch's `interpolate` without `align_corners`.
  """
  shape = (len(x), side, side, x.shape[3])
  return jax.image.resize(x, shape, "linear", antialias=False)


def centred(maps: Maps) -> Maps:
  """Subtracts the mean of the training split's patches, in place."""
  mean, _ = moments(maps.train_x)
  for x in (maps.train_x, maps.test_x):
    x -= mean
  return maps


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Measures mean and deviation f32 [D] of features [N,h,w,D], by parts of N.

  A hundredth of the typical deviation is the least, as in `linear.standardiser`.
  """
  count, total, squares = 0, 0.0, 0.0
  shift = np.asarray(x[0], np.float64).mean((0, 1))
  for start in range(0, len(x), BATCH):
    part = np.asarray(x[start : start + BATCH], np.float64) - shift
    count += part[..., 0].size
    total, squares = total + part.sum((0, 1, 2)), squares + (part**2).sum((0, 1, 2))
  mean = total / count
  std = np.sqrt(np.maximum(squares / count - mean**2, 0))
  std = np.maximum(std, 0.01 * np.sqrt(np.mean(std**2)) + 1e-12)
  return np.float32(shift + mean), np.float32(std)


def train(
  loss: Callable[[Any, Any, jax.Array], jax.Array],
  params: Any,
  arrays: tuple[np.ndarray, ...],
  *,
  steps: int,
  batch: int,
  schedule: optax.Schedule,
  weight_decay: float,
  seed: int,
) -> Any:
  """Minimises loss(params, rows of `arrays`, step) by AdamW -> params.

  The rows [B,...] of a step are drawn as the epochs of training are: each example once
  an epoch, and an epoch's last, incomplete batch is left out. Biases do not decay.
  """
  tx = optax.adamw(schedule, weight_decay=weight_decay, mask=_kernels)

  @jax.jit
  def update(params, state, rows, step):
    grads = jax.grad(loss)(params, rows, step)
    with jax.numpy_dtype_promotion("standard"):  # Optax's rules rely on it
      updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  state, order = tx.init(params), draws(len(arrays[0]), batch, seed)
  for step in range(steps):
    chosen = next(order)
    rows = tuple(np.asarray(x[chosen]) for x in arrays)
    params, state = update(params, state, rows, np.int32(step))
  return params


def _kernels(params: Any) -> Any:
  return jax.tree.map(lambda x: x.ndim > 1, params)


def draws(count: int, batch: int, seed: int) -> Iterator[np.ndarray]:
  """Yields the numbers, sorted, of the examples of each step, without end."""
  batch, rng = min(batch, count), np.random.default_rng(seed)
  while True:
    order = rng.permutation(count)
    for start in range(0, count - batch + 1, batch):
      yield np.sort(order[start : start + batch])


def in_batches(
  function: Callable[[jax.Array], Any], x: np.ndarray
) -> Iterator[tuple[slice, Any]]:
  """Maps a jitted function over rows, so many at once -> (which, what it gives).

  The last batch is filled up, so that it compiles once.
  """
  count = len(x)
  for start in range(0, count, BATCH):
    rows = np.minimum(np.arange(start, start + BATCH), count - 1)
    given = jax.device_get(function(np.asarray(x[rows])))
    there = slice(0, min(BATCH, count - start))
    part = jax.tree.map(operator.itemgetter(there), given)
    yield slice(start, start + there.stop), part
