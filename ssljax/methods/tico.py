"""TiCo (Zhu et al. 2022): agree with a slow copy, away from where all others point."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import redundancy
from ssljax.ranges import NotNegative, Share
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class TiCo(Method):
  """Algorithm 1: view 0 meets the slow copy's view 1, in one direction.

  `rho` weighs the contrast with the running covariance, which `covariance_momentum`
  (the paper's beta) averages and every batch enters before its own loss. `tau` is the
  slow copy's decay at a step. The gradient stops at the batch's part of the covariance,
  as in lightly since its pull request 1484; `covariance_gradient` is before it.
  """

  rho: NotNegative
  covariance_momentum: Share
  tau: ShareSchedule
  covariance_gradient: bool = False

  def init(self, rng, batch):
    """-> params, batch_stats, target with "covariance" [D,D] of zeros."""
    params, stats, _ = super().init(rng, batch)
    dim = self.output_shapes(params, stats, batch["image"][:, 0])["projection"].shape[1]
    covariance = jnp.zeros((dim, dim))
    return (
      params,
      stats,
      {
        "params": params,
        "batch_stats": stats,
        "covariance": covariance,
      },
    )

  def loss_fn(self, params, state, batch, rng):
    """Over the two views in batch["image"] [B,2,H,W,C]."""
    image, slow = batch["image"], state.target
    online, stats = self.forward(params, state.batch_stats, image[:, 0], rng)
    target, kept = self.forward(slow["params"], slow["batch_stats"], image[:, 1])
    z, other = online["projection"], jax.lax.stop_gradient(target["projection"])
    moment = redundancy.second_moment(z)
    if not self.covariance_gradient:
      moment = jax.lax.stop_gradient(moment)
    covariance = memory.ema(moment, slow["covariance"], self.covariance_momentum)
    loss = redundancy.tico(z, other, covariance, self.rho)
    outputs = {
      "features": online["features"][:, None],
      "projection": jnp.stack([z, other], 1),
    }
    metrics = {"tau": self.tau(state.step)}
    return loss, Aux(stats, (kept, covariance), outputs, metrics)

  def after_update(self, params, state, carry):
    """The slow copy moves towards the new weights; the covariance is kept."""
    kept, covariance = carry
    ema = memory.ema(params, state.target["params"], self.tau(state.step))
    return params, {"params": ema, "batch_stats": kept, "covariance": covariance}
