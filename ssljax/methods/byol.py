"""BYOL (Grill et al. 2020): predict a slow copy of yourself on another view."""

import dataclasses

import jax

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import predictive
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class BYOL(Method):
  """Section 3.1. The target has its own weights, drawn apart, and its own statistics.

  `tau` is the target's decay at a step. As in the official code the two directions
  are summed (loss in [0, 8]), the target's BatchNorm statistics come from its own
  passes and are not averaged, and the average is taken after the optimizer's step.
  """

  tau: ShareSchedule

  def init(self, rng, batch):
    """-> params, batch_stats, target {"params", "batch_stats"}."""
    online, target = jax.random.split(rng)
    params, stats = self.init_net(online, batch["image"][:, 0])
    target_params, target_stats = self.init_net(target, batch["image"][:, 0])
    return params, stats, {"params": target_params, "batch_stats": target_stats}

  def loss_fn(self, params, state, batch, rng):
    """Eq. 2, symmetrised, over the two views in batch["image"] [B,2,H,W,C]."""
    image, slow = batch["image"], state.target
    online, stats = self.forward_views(
      params, state.batch_stats, image, rng, together=False
    )
    target, kept = self.forward_views(
      slow["params"], slow["batch_stats"], image, together=False
    )
    p, z = online["prediction"], jax.lax.stop_gradient(target["projection"])
    loss = predictive.regression(p[:, 0], z[:, 1])
    loss += predictive.regression(p[:, 1], z[:, 0])
    return loss, Aux(stats, kept, online, {"tau": self.tau(state.step)})

  def after_update(self, params, state, carry):
    """The target moves towards the new weights (eq. 1)."""
    ema = memory.ema(params, state.target["params"], self.tau(state.step))
    return params, {"params": ema, "batch_stats": carry}
