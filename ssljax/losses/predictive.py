"""Losses that predict one embedding from another, without negatives."""

import jax
import jax.numpy as jnp

from ssljax.losses.contrastive import unit


def regression(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Mean squared distance of directions, prediction [B,D] and target [B,D]: 0 to 4.

  BYOL (Grill et al. 2020), eq. 2: 2 - 2 cos, averaged over the batch. One direction;
  BYOL sums two. The caller stops the gradient of the target. A zero vector has
  distance 1 from any direction, and a finite gradient.
  """
  return jnp.square(unit(prediction) - unit(target)).sum(1).mean()


def negative_cosine(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Minus the mean cosine of prediction [B,D] and target [B,D]: -1 to 1.

  SimSiam (Chen & He 2021), eq. 1; the official value. One direction; SimSiam takes
  the mean of two. The caller stops the gradient of the target.
  """
  return -(unit(prediction) * unit(target)).sum(1).mean()
