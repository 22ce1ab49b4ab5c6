"""DirectPred (Tian et al. 2021): BYOL whose predictor is computed, not learned."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.fields.ranges import NotNegative, Share
from ssljax.losses import predictive, redundancy
from ssljax.methods.byol import BYOL


@dataclasses.dataclass(frozen=True, kw_only=True)
class DirectPred(BYOL):
  """DirectPred, section 4: the predictor has the eigenvectors of the projections.

  Their correlation is averaged with decay `rho`; to its eigenvalues s, as shares of
  the largest, belong sqrt(s) + `epsilon`. The target starts as a copy.
  """

  rho: Share
  epsilon: NotNegative
  needs_heads: ClassVar[tuple[str, ...]] = ("projector",)

  def init(self, rng, batch):
    """Initialises params, batch_stats, target with "correlation" [D,D], the unit's."""
    params, stats, _ = Method.init(self, rng, batch)
    dim = self.output_shapes(params, stats, batch)["projection"].shape[-1]
    return params, stats, {**memory.slow(params, stats), "correlation": jnp.eye(dim)}

  def objective(self, params, rows, state, batch, rng):
    """Computes BYOL's loss of the projections [B,2,D] after the predictor."""
    z, slow = rows["projection"], rows["target"]
    predictor = self.predictor(state.target["correlation"])
    p = jnp.matmul(z, predictor, precision=redundancy.PRECISION)
    loss = predictive.regression(p[:, 0], slow[:, 1])
    loss += predictive.regression(p[:, 1], slow[:, 0])
    views = jax.lax.stop_gradient(z.reshape(-1, z.shape[-1]))
    moment = jnp.matmul(views.T, views, precision=redundancy.PRECISION) / len(views)
    return loss, Aux({"moment": moment}, {"tau": self.tau(state.step)})

  def predictor(self, correlation):
    """Computes the predictor [D,D] of a correlation [D,D], its eigenvectors' own."""
    values, vectors = jnp.linalg.eigh(correlation)
    values = jnp.maximum(values, 0.0)
    share = jnp.sqrt(values / jnp.maximum(values.max(), 1e-12)) + self.epsilon
    return jnp.matmul(vectors * share[None], vectors.T, precision=redundancy.PRECISION)

  def after_update(self, params, state, carry):
    """Moves the target towards the new weights, and averages the correlation."""
    params, target = super().after_update(params, state, carry)
    correlation = memory.ema(carry["moment"], target["correlation"], self.rho)
    return params, {**target, "correlation": correlation}
