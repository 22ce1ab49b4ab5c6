"""Losses that predict one embedding from another, without negatives."""

import jax
import jax.numpy as jnp

from ssljax.losses.contrastive import PRECISION, unit


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


def gram(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Mean squared distance of the cosines of patches with each other [B,V,N,D] -> [B].

  Gram anchoring (Siméoni et al. 2025, DINOv3) of each picture: |S - T|^2 / N^2 of its
  Gram matrices [N,N], the mean over views; the mean over pictures is the official value
  (`img_level`, `normalized`). The caller stops the gradient of the teacher.
  """

  def cosines(x):
    x = unit(x)
    return jnp.einsum("bvnd,bvmd->bvnm", x, x, precision=PRECISION)

  return jnp.square(cosines(student) - cosines(teacher)).mean((1, 2, 3))
