"""Losses that keep the embeddings of different pictures apart, without a positive."""

import jax
import jax.numpy as jnp

from ssljax.losses import masked
from ssljax.losses.contrastive import PRECISION, unit


def koleo(x: jax.Array, group: int = 0) -> jax.Array:
  """Minus the mean logarithm of each row's distance to its nearest, x [B,D] -> f32[].

  The estimator of entropy of Kozachenko and Leonenko, on the sphere (Sablayrolles et
  al. 2019; DINOv2, Oquab et al. 2023); the official value, whose gradient flows through
  the neighbour too. Rows are compared among `group` neighbours, which in the official
  code are a GPU's batch; 0: among all. ValueError where groups do not divide B.
  """
  size = group or len(x)
  if len(x) % size or size < 2:
    raise ValueError(
      f"koleo_group={group} must divide the batch of {len(x)}, and be two or more"
    )
  x = unit(x).reshape(-1, size, x.shape[-1])
  cosines = jnp.einsum("gid,gjd->gij", x, x, precision=PRECISION)
  itself = jnp.eye(size, dtype=bool)[None]
  nearest = jnp.where(itself, -jnp.inf, jax.lax.stop_gradient(cosines)).argmax(2)
  other = jnp.take_along_axis(x, nearest[..., None], axis=1)
  distance = jnp.sqrt(jnp.square(x - other + EPSILON).sum(-1)) + EPSILON
  return -jnp.log(distance).mean()


def coding_rate(
  z: jax.Array, epsilon: float, other: jax.Array | None = None
) -> jax.Array:
  """Bits, but for log 2, that directions z [B,V,D] take, the mean over views -> f32[].

    log det(I + D / (B epsilon) Z'Z) / 2

  of each view's B rows. SimDINO (Wu et al. 2025), eq. 6, whose epsilon squared is this
  one, as in its code. With the directions of `other` [B,V,D] it is of the mean of both,
  which is no direction (the code's `expa_type` 1). Between devices go moments [V,D,D].
  """
  batch, _, dim = z.shape
  z = unit(z) if other is None else (unit(z) + unit(other)) / 2
  moments = jnp.einsum("bvd,bve->vde", z, z, precision=PRECISION)
  moments = jnp.eye(dim)[None] + dim / (batch * epsilon) * moments
  factor = jnp.linalg.cholesky(moments)
  return jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(1).mean()


def agreement(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Mean cosine of student's crops [B,V,D] and the teacher's [B,G,D], others than them.

  The first G of the student's crops are the teacher's.
  """
  cosines = jnp.einsum(
    "bgd,bvd->bgv", unit(teacher), unit(student), precision=PRECISION
  )
  is_other_crop = ~jnp.eye(*cosines.shape[1:], dtype=bool)
  return cosines.mean(0).mean(where=is_other_crop)


def hidden_agreement(
  student: jax.Array, teacher: jax.Array, mask: jax.Array
) -> jax.Array:
  """Cosine of student's and teacher's patches [B,V,N,D] where they are hidden -> [B].

  Of each picture the mean over its views of the mean over their patches in `mask`
  [B,V,N]; a view that hides none gives 0 and counts, as in `clustering.hidden_patches`.
  SimDINOv2 (Wu et al. 2025): the official `CosinePatchLoss`, but for its sign, is the
  mean over pictures.
  """
  cosines = (unit(teacher) * unit(student)).sum(-1)
  return masked.weighted(cosines, mask).mean(1)


EPSILON = 1e-8  # of PyTorch's `PairwiseDistance`, in each dimension, and of the log
