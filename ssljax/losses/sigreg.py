"""Losses that pull an embedding's distribution to the isotropic Gaussian.

Between devices go means over the batch [V,M,T], never embeddings.
"""

import jax
import jax.numpy as jnp

from ssljax.losses.contrastive import PRECISION


def sigreg(
  z: jax.Array, directions: jax.Array, points: int = 17, reach: float = 3.0
) -> jax.Array:
  """Distance of each view's embeddings, z [B,V,D], from the isotropic Gaussian.

  SIGReg (Balestriero & LeCun 2025), algorithm 1. The rows of `directions` [M,D] are
  unit vectors a; the test of Epps and Pulley compares the characteristic function of
  a'z over the batch with the normal one, g(t) = exp(-t^2 / 2):

    B integral |mean_b exp(i t a'z_b) - g(t)|^2 g(t) dt   from -reach to reach

  by the trapezoidal rule, and the loss is the mean over directions and views. It is
  about 1.05 for Gaussian samples whatever B, and 0.40 B where all embeddings are 0.

  The official value: `points` lie on the positive half and count twice, as its code
  has it. Algorithm 1 itself is points=9, reach=5. With V views at once its value
  stays that of one, where stable-pretraining's, of all B V rows, is V times as large.
  """
  t = jnp.linspace(0.0, reach, points)
  normal = jnp.exp(-jnp.square(t) / 2)
  step = reach / (points - 1)
  width = jnp.full(points, 2 * step).at[jnp.array([0, -1])].set(step)
  along = jnp.einsum(
    "bvd,md->bvm", z.astype(jnp.float32), directions, precision=PRECISION
  )
  angle = along[..., None] * t[None, None, None]
  error = jnp.square(jnp.cos(angle).mean(0) - normal[None, None])
  error += jnp.square(jnp.sin(angle).mean(0))
  return z.shape[0] * jnp.matmul(error, width * normal, precision=PRECISION).mean()


def invariance(z: jax.Array, count: int) -> jax.Array:
  """Mean squared distance of views, z [B,V,D], from the mean of the first `count`.

  The prediction loss of LeJEPA (Balestriero & LeCun 2025), algorithm 2; the official
  value, a mean over dimensions too. The gradient flows through the mean as well.
  """
  z = z.astype(jnp.float32)
  return jnp.square(z - z[:, :count].mean(1, keepdims=True)).mean()
