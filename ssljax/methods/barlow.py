"""Barlow Twins (Zbontar et al. 2021): a dimension agrees with itself alone."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.losses import redundancy
from ssljax.ranges import NotNegative


@dataclasses.dataclass(frozen=True)
class BarlowTwins(Method):
  """Algorithm 1. Each view passes the network alone, as in the official code.

  `off_diagonal` is the paper's lambda. The correlation is that of the global batch;
  the official code divides its gradient by the number of devices, which LARS undoes
  for weights but not for biases and norms.
  """

  off_diagonal: NotNegative

  def loss_fn(self, params, state, batch, rng):
    """Eq. 1 over the two views in batch["image"] [B,2,H,W,C]."""
    online, stats = self.forward_views(
      params, state.batch_stats, batch["image"], rng, together=False
    )
    loss = redundancy.barlow_twins(online["projection"], self.off_diagonal)
    return loss, Aux(stats, (), online, {})
