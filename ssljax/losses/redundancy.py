"""Losses that keep the dimensions of an embedding from repeating one another.

Between devices go moments [D,D], never embeddings; only `w_mse` deals those out.
"""

import jax
import jax.numpy as jnp

from ssljax.losses import predictive
from ssljax.losses.contrastive import PRECISION, unit


def barlow_twins(z: jax.Array, off_diagonal: float) -> jax.Array:
  """Distance of the cross-correlation [D,D] of two views, z [B,2,D], from identity.

  Barlow Twins (Zbontar et al. 2021), eq. 1 and 2, where `off_diagonal` is lambda, the
  weight of the entries off the diagonal; the official value. Dimensions are
  normalised over the batch as BatchNorm does: biased variance, epsilon 1e-5.
  """
  z = _centred(z)
  z = z * jax.lax.rsqrt(jnp.square(z).mean(0, keepdims=True) + 1e-5)
  correlation = jnp.matmul(z[:, 0].T, z[:, 1], precision=PRECISION) / z.shape[0]
  identity = jnp.eye(z.shape[-1])
  weight = jnp.where(identity > 0, 1.0, off_diagonal)
  return (weight * jnp.square(correlation - identity)).sum()


def vicreg(
  z: jax.Array, invariance: float, variance: float, covariance: float
) -> jax.Array:
  """Two views, z [B,2,D], agree; each dimension varies, and no two vary together.

  VICReg (Bardes et al. 2022), eq. 6, with its weights lambda, mu and nu in this order;
  the official value. As there the views' variance terms (eq. 1) are averaged, their
  covariance terms (eq. 3 and 4) summed; both divide by B - 1.
  """
  batch, _, dim = z.shape
  z = z.astype(jnp.float32)
  distance = jnp.square(z[:, 0] - z[:, 1]).mean()
  z = _centred(z)
  moments = jnp.einsum("bvd,bve->vde", z, z, precision=PRECISION) / (batch - 1)
  deviation = jnp.sqrt(jnp.diagonal(moments, axis1=1, axis2=2) + 1e-4)
  missing = jax.nn.relu(1.0 - deviation).mean()
  off_diagonal = jnp.where(jnp.eye(dim, dtype=bool)[None], 0.0, moments)
  redundancy = jnp.square(off_diagonal).sum() / dim
  return invariance * distance + variance * missing + covariance * redundancy


def vicreg_of_cells(
  x: jax.Array, y: jax.Array, invariance: float, variance: float, covariance: float
) -> jax.Array:
  """VICReg's loss of cells x and y [B,N,D] that belong together -> f32[].

  VICRegL (Bardes et al. 2022), eq. 3 and 5; as in its code statistics are over the
  batch, a cell's number apart, and covariance terms of x and y are averaged.
  """
  x, y = (z.astype(jnp.float32) for z in (x, y))
  distance = jnp.square(x - y).mean()
  z = _centred(jnp.stack([x, y], 1))
  moments = jnp.einsum("bvnd,bvne->vnde", z, z, precision=PRECISION) / (len(z) - 1)
  deviation = jnp.sqrt(jnp.diagonal(moments, axis1=2, axis2=3) + 1e-4)
  missing = jax.nn.relu(1.0 - deviation).mean()
  off_diagonal = jnp.where(jnp.eye(z.shape[-1], dtype=bool)[None, None], 0.0, moments)
  redundancy = jnp.square(off_diagonal).sum((2, 3)).mean() / z.shape[-1]
  return invariance * distance + variance * missing + covariance * redundancy


def second_moment(z: jax.Array) -> jax.Array:
  """Averages the outer products of the directions of z [B,D] -> [D,D], trace 1.

  `tico` takes their moving average.
  """
  z = unit(z)
  return jnp.matmul(z.T, z, precision=PRECISION) / z.shape[0]


def tico(
  online: jax.Array, target: jax.Array, covariance: jax.Array, rho: float
) -> jax.Array:
  """Directions of online [B,D] meet the target's and shun the ways of all before.

  TiCo (Zhu et al. 2022), algorithm 1: one minus the mean cosine, plus `rho` times the
  mean of z' C z. `covariance` [D,D] is the running `second_moment` of online, this
  batch included. The caller stops the target's gradient and may stop the covariance's.
  """
  along = jnp.matmul(unit(online), covariance, precision=PRECISION)
  contrast = (along * unit(online)).sum(1).mean()
  return predictive.regression(online, target) / 2 + rho * contrast


def w_mse(z: jax.Array, order: jax.Array, sub_batch: int) -> jax.Array:
  """Squared distance of two views, z [B,2,D], after whitening: 0 to 4.

  W-MSE (Ermolov et al. 2021), section 3. Each row of `order` i32 [I,B] deals the
  examples out to sub-batches of `sub_batch` neighbours; each view of a sub-batch is
  whitened alone, whitened vectors are compared by direction, and the loss is the mean
  over rows. ValueError where sub-batches do not divide B or are too small for D.
  """
  batch, views, dim = z.shape
  if batch % sub_batch:
    raise ValueError(f"sub_batch={sub_batch} must divide the batch of {batch}")
  if sub_batch <= dim:
    raise ValueError(
      f"sub_batch={sub_batch} must be larger than the {dim} dimensions of a "
      f"projection, or they cannot be whitened; the paper's is twice as large"
    )
  dealt = z[order].reshape(-1, sub_batch, views, dim)
  white = whitened(dealt.swapaxes(1, 2)).swapaxes(1, 2).reshape(-1, views, dim)
  return predictive.regression(white[:, 0], white[:, 1])


def whitened(x: jax.Array) -> jax.Array:
  """Whitens groups [...,N,D], N > D, to mean 0 and unbiased covariance 1.

  By the inverse of the covariance's Cholesky factor, as in W-MSE's official code, which
  adds nothing to the diagonal.
  """
  x = x.astype(jnp.float32)
  x = x - x.mean(-2, keepdims=True)
  covariance = jnp.matmul(x.mT, x, precision=PRECISION) / (x.shape[-2] - 1)
  factor = jnp.linalg.cholesky(covariance)
  return jax.lax.linalg.triangular_solve(factor, x, lower=True, transpose_a=True)


def _centred(z: jax.Array) -> jax.Array:
  z = z.astype(jnp.float32)
  return z - z.mean(0, keepdims=True)
