"""SimSiam (Chen & He 2021): no negatives, no momentum, a stopped gradient."""

import dataclasses

import jax

from ssljax.core import Aux, Method
from ssljax.losses import predictive


@dataclasses.dataclass(frozen=True)
class SimSiam(Method):
  """Algorithm 1. Each view passes the network alone, as in the official code.

  The published predictor's learning rate stays constant: `optimizer.groups`. Without
  `stop_gradient` (figure 2), or comparing projections without `predict` (table 1), it
  collapses: docs/collapse.md.
  """

  stop_gradient: bool = True
  predict: bool = True  # False: the predictor, where there is one, learns nothing

  def loss_fn(self, params, state, batch, rng):
    """Eq. 4 over the two views in batch["image"] [B,2,H,W,C]; -1 to 1."""
    online, stats = self.forward_views(
      params, state.batch_stats, batch["image"], rng, together=False
    )
    z = online["projection"]
    p = online["prediction"] if self.predict else z
    if self.stop_gradient:
      z = jax.lax.stop_gradient(z)
    loss = predictive.negative_cosine(p[:, 0], z[:, 1]) / 2
    loss += predictive.negative_cosine(p[:, 1], z[:, 0]) / 2
    return loss, Aux(stats, (), online, {})
