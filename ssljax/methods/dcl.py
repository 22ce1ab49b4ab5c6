"""DCL and DCLW (Yeh et al. 2022): SimCLR without the positive in the denominator."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.losses import contrastive
from ssljax.ranges import NotNegative, Positive


@dataclasses.dataclass(frozen=True)
class DCL(Method):
  """SimCLR with another loss, the mean over anchors. `sigma` > 0 makes it DCLW."""

  temperature: Positive
  sigma: NotNegative = 0.0

  def loss_fn(self, params, state, batch, rng):
    """Eq. 6 over the two views in batch["image"] [B,2,H,W,C]."""
    online, stats = self.forward_views(params, state.batch_stats, batch["image"], rng)
    loss = contrastive.dcl(online["projection"], self.temperature, self.sigma)
    return loss, Aux(stats, (), online, {})
