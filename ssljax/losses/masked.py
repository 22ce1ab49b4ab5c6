"""Losses on what was hidden from the network.

N patches of a picture are numbered in the rows of their grid; the P = size * size * C
numbers of one are its rows, their pixels, their channels.
"""

import jax
import jax.numpy as jnp


def patchify(image: jax.Array, size: int) -> jax.Array:
  """Cuts [B,H,W,C] into patches [B,N,P]; `size` must divide H and W."""
  b, height, width, c = image.shape
  x = image.reshape(b, height // size, size, width // size, size, c)
  return x.swapaxes(2, 3).reshape(b, -1, size * size * c)


def unpatchify(patches: jax.Array, size: int, height: int, width: int) -> jax.Array:
  """Joins patches [B,N,P] to [B,height,width,C], the inverse of `patchify`."""
  b = len(patches)
  x = patches.reshape(b, height // size, width // size, size, size, -1)
  return x.swapaxes(2, 3).reshape(b, height, width, -1)


def moments(patches: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Computes each patch's mean and deviation, [B,N,1] f32; unbiased, as MAE's code."""
  patches = patches.astype(jnp.float32)
  var = patches.var(-1, keepdims=True, ddof=1)
  return patches.mean(-1, keepdims=True), jnp.sqrt(var + 1e-6)


def masked_mse(
  prediction: jax.Array, target: jax.Array, mask: jax.Array, norm_pix: bool
) -> jax.Array:
  """Mean squared error of prediction [B,N,P] over the hidden patches of target [B,N,P].

  MAE (He et al. 2022), section 3; the official value. `mask` [B,N] is 1 where a patch
  is hidden, 0 where it was seen. With `norm_pix` the pixels of a target patch are
  normalised by their mean and deviation.
  """
  mask = mask.astype(jnp.float32)
  error = masked_error(prediction, target, mask, norm_pix)
  count = mask.sum(1)
  return (error * count).sum() / count.sum()


def masked_error(
  prediction: jax.Array, target: jax.Array, mask: jax.Array, norm_pix: bool
) -> jax.Array:
  """Each picture's mean squared error [B] over its hidden patches, as `masked_mse`.

  Where every picture hides as many, their mean is `masked_mse`; 0 where none is hidden.
  """
  target = target.astype(jnp.float32)
  if norm_pix:
    mean, deviation = moments(target)
    target = (target - mean) / deviation
  error = jnp.square(prediction.astype(jnp.float32) - target).mean(-1)
  return weighted(error, mask)


def absolute_error(
  prediction: jax.Array, target: jax.Array, mask: jax.Array
) -> jax.Array:
  """Each picture's mean absolute error [B] over its hidden patches of target [B,N,P].

  SimMIM (Xie et al. 2022), section 3.4; the official value, but for 1e-5 below, is the
  mean over pictures that hide as many. `mask` [B,N] is 1 where a patch is hidden.
  """
  error = jnp.abs(prediction.astype(jnp.float32) - target.astype(jnp.float32))
  return weighted(error.mean(-1), mask)


def smooth_l1(prediction: jax.Array, target: jax.Array, beta: float = 1.0) -> jax.Array:
  """Huber's error of prediction [...,D] and target [...,D], mean over D -> [...] f32.

  As PyTorch's `smooth_l1_loss`: d^2 / (2 beta) up to |d| = beta, |d| - beta / 2 beyond.
  I-JEPA (Assran et al. 2023) of `normalised` targets with beta 1, data2vec (Baevski et
  al. 2022, eq. 2) with 2.
  """
  distance = jnp.abs(prediction.astype(jnp.float32) - target.astype(jnp.float32))
  near = jnp.square(distance) / (2 * beta)
  return jnp.where(distance < beta, near, distance - beta / 2).mean(-1)


def normalised(x: jax.Array) -> jax.Array:
  """Normalises each x [...,D] to mean 0 and variance 1, as PyTorch's `layer_norm`."""
  x = x.astype(jnp.float32)
  x = x - x.mean(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5)


def weighted(error: jax.Array, weight: jax.Array) -> jax.Array:
  """Averages errors [...,N] by weights [...,N], 0 or 1 -> [...] f32; of none 0."""
  weight = weight.astype(jnp.float32)
  return (error * weight).sum(-1) / jnp.maximum(weight.sum(-1), 1)
