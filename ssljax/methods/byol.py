"""BYOL (Grill et al. 2020): predict a slow copy of yourself on another view."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import predictive
from ssljax.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class BYOL(Method):
  """Section 3.1. The target has its own weights, drawn apart, and its own statistics.

  `tau` is the target's decay at a step. As in the official code the two directions
  are summed (loss in [0, 8]), the target's BatchNorm statistics come from its own
  passes and are not averaged, and the average is taken after the optimizer's step.
  """

  tau: Schedule

  def init(self, rng, batch):
    """-> params, batch_stats, target {"params", "batch_stats"}."""
    online, target = jax.random.split(rng)
    params, stats = self.init_net(online, batch["image"][:, 0])
    target_params, target_stats = self.init_net(target, batch["image"][:, 0])
    return params, stats, {"params": target_params, "batch_stats": target_stats}

  def loss_fn(self, params, state, batch, rng):
    """Eq. 2, symmetrised, over the two views in batch["image"] [B,2,H,W,C]."""
    x1, x2 = batch["image"][:, 0], batch["image"][:, 1]
    online1, stats = self.forward(params, state.batch_stats, x1)
    online2, stats = self.forward(params, stats, x2)
    slow = state.target
    target1, kept = self.forward(slow["params"], slow["batch_stats"], x1)
    target2, kept = self.forward(slow["params"], kept, x2)
    loss = predictive.regression(
      online1["prediction"], jax.lax.stop_gradient(target2["projection"])
    ) + predictive.regression(
      online2["prediction"], jax.lax.stop_gradient(target1["projection"])
    )
    outputs = jax.tree.map(lambda a, b: jnp.stack([a, b], 1), online1, online2)
    return loss, Aux(stats, kept, outputs, {"tau": self.tau(state.step)})

  def after_update(self, params, state, carry):
    """The target moves towards the new weights (eq. 1)."""
    ema = memory.ema(params, state.target["params"], self.tau(state.step))
    return params, {"params": ema, "batch_stats": carry}
