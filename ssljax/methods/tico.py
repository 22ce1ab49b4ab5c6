"""TiCo (Zhu et al. 2022): agree with a slow copy, away from where all others point."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import NotNegative, Share
from ssljax.losses import redundancy
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class TiCo(Method):
  """TiCo, algorithm 1: view 0 meets the slow copy's view 1, in one direction.

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
    """Initialises params, batch_stats, target with "covariance" [D,D] of zeros."""
    params, stats, _ = super().init(rng, batch)
    dim = self.output_shapes(params, stats, batch)["projection"].shape[1]
    covariance = jnp.zeros((dim, dim))
    return params, stats, {**memory.slow(params, stats), "covariance": covariance}

  def encode(self, params, state, batch, rng):
    """Encodes view 0 and, by the slow copy, without gradient, view 1: [B,2,D]."""
    online_view, target_view = ({"image": batch["image"][:, i]} for i in (0, 1))
    slow_copy, keys = state.target, core.draws(rng, batch)
    online, stats = self.forward(params, state.batch_stats, online_view, keys)
    target, target_stats = self.forward(
      slow_copy["params"], slow_copy["batch_stats"], target_view
    )
    target_projection = jax.lax.stop_gradient(target["projection"])
    rows = {
      "features": online["features"][:, None],
      "projection": jnp.stack([online["projection"], target_projection], 1),
    }
    return Encoded(rows, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes algorithm 1's loss over the two projections [B,2,D] of each picture."""
    online, target = rows["projection"][:, 0], rows["projection"][:, 1]
    previous = state.target["covariance"]
    moment = redundancy.second_moment(online)
    if not self.covariance_gradient:
      moment = jax.lax.stop_gradient(moment)
    covariance = memory.ema(moment, previous, self.covariance_momentum)
    loss = redundancy.tico(online, target, covariance, self.rho)
    return loss, Aux({"covariance": covariance}, {"tau": self.tau(state.step)})

  def after_update(self, params, state, carry):
    """Moves the slow copy to the new weights, and stores the covariance."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    target = memory.follow(state.target, params, stats, tau)
    return params, {**target, "covariance": carry["covariance"]}
