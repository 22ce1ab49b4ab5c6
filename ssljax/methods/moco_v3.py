"""MoCo v3 (Chen et al. 2021): BYOL's networks, and the batch's keys for a queue."""

import dataclasses
from typing import ClassVar

from ssljax import memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import Positive
from ssljax.losses import contrastive
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class MoCoV3(Method):
  """MoCo v3, algorithm 1. `momentum` is the key encoder's decay at a step.

  The frozen patch projection of section 4.2 is two lines of a config: the encoder's
  `stop_grad_patch` and the optimizer's `frozen`, or decay would still move it.

  As in `moco` the average is the published "before the key forward", shifted by one
  step, and so is its decay: the same sequence of key encoders. Their predictor is
  averaged along and not used; their BatchNorm statistics come from their own passes.
  """

  temperature: Positive
  momentum: ShareSchedule
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "predictor")
  together: ClassVar[bool] = False

  def init(self, rng, batch):
    """Initialises params, batch_stats, target {"params", "batch_stats"}, a copy."""
    params, stats, _ = super().init(rng, batch)
    return params, stats, memory.slow(params, stats)

  def encode(self, params, state, batch, rng):
    """Encodes both views by both networks; "keys" [B,2,D] carry no gradient."""
    query, stats, _ = super().encode(params, state, batch, rng)
    key, target_stats = self.target_views(state, {"image": batch["image"]})
    return Encoded({**query, "keys": key["projection"]}, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 1 times 2 tau, symmetrised, over predictions and keys [B,2,D]."""
    q, k = rows["prediction"], rows["keys"]
    loss = contrastive.info_nce_in_batch(q[:, 0], k[:, 1], self.temperature)
    loss += contrastive.info_nce_in_batch(q[:, 1], k[:, 0], self.temperature)
    metrics = {"momentum": self.momentum(state.step)}
    return 2 * self.temperature * loss, Aux(metrics=metrics)

  def after_update(self, params, state, carry):
    """Moves the key encoder to the new weights, by the next step's decay."""
    decay, stats = self.momentum(state.step + 1), carry["target_stats"]
    return params, memory.follow(state.target, params, stats, decay)
