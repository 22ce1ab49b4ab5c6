"""MoCo v3 (Chen et al. 2021): BYOL's networks, and the batch's keys for a queue."""

import dataclasses

import jax

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import contrastive
from ssljax.ranges import Positive
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class MoCoV3(Method):
  """Algorithm 1. `momentum` is the key encoder's decay at a step.

  The frozen patch projection of section 4.2 is two lines of a config: the encoder's
  `stop_grad_patch` and the optimizer's `frozen`, or decay would still move it.

  As in `moco` the average is the published "before the key forward", shifted by one
  step, and so is its decay: the same sequence of key encoders. Their predictor is
  averaged along and not used; their BatchNorm statistics come from their own passes.
  """

  temperature: Positive
  momentum: ShareSchedule

  def init(self, rng, batch):
    """-> params, batch_stats, target {"params", "batch_stats"}, a copy of both."""
    params, stats, _ = super().init(rng, batch)
    return params, stats, {"params": params, "batch_stats": stats}

  def loss_fn(self, params, state, batch, rng):
    """Eq. 1 times 2 tau, symmetrised, over the two views in batch["image"]."""
    image, slow = batch["image"], state.target
    query, stats = self.forward_views(
      params, state.batch_stats, image, rng, together=False
    )
    key, kept = self.forward_views(
      slow["params"], slow["batch_stats"], image, together=False
    )
    q, k = query["prediction"], jax.lax.stop_gradient(key["projection"])
    loss = contrastive.info_nce_in_batch(q[:, 0], k[:, 1], self.temperature)
    loss += contrastive.info_nce_in_batch(q[:, 1], k[:, 0], self.temperature)
    metrics = {"momentum": self.momentum(state.step)}
    return 2 * self.temperature * loss, Aux(stats, kept, query, metrics)

  def after_update(self, params, state, carry):
    """The key encoder follows the new weights, by the next step's decay."""
    decay = self.momentum(state.step + 1)
    ema = memory.ema(params, state.target["params"], decay)
    return params, {"params": ema, "batch_stats": carry}
