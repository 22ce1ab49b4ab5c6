"""BYOL (Grill et al. 2020): predict a slow copy of yourself on another view."""

import dataclasses
from typing import ClassVar

import jax

from ssljax import memory
from ssljax.core import Aux, Encoded, Method
from ssljax.losses import predictive
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class BYOL(Method):
  """BYOL, section 3.1. The target has weights drawn apart, and statistics of its own.

  `tau` is the target's decay at a step. As in the official code the two directions
  are summed (loss in [0, 8]), the target's BatchNorm statistics come from its own
  passes and are not averaged, and the average is taken after the optimizer's step.
  """

  tau: ShareSchedule
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "predictor")
  together: ClassVar[bool] = False

  def init(self, rng, batch):
    """Initialises params, batch_stats, target {"params", "batch_stats"} drawn apart."""
    online, target = jax.random.split(rng)
    x = self.see(batch["image"][:, 0])
    return *self.init_net(online, x), memory.slow(*self.init_net(target, x))

  def encode(self, params, state, batch, rng):
    """Encodes both views by both networks; "target" [B,2,D] carries no gradient."""
    online, stats, _ = super().encode(params, state, batch, rng)
    target, target_stats = self.target_views(state, {"image": batch["image"]})
    return Encoded({**online, "target": target["projection"]}, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 2, symmetrised, over predictions and targets [B,2,D] of 2 views."""
    p, z = rows["prediction"], rows["target"]
    loss = predictive.regression(p[:, 0], z[:, 1])
    loss += predictive.regression(p[:, 1], z[:, 0])
    return loss, Aux(metrics={"tau": self.tau(state.step)})

  def after_update(self, params, state, carry):
    """Moves the target towards the new weights (eq. 1)."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    return params, memory.follow(state.target, params, stats, tau)
