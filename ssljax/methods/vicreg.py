"""VICReg (Bardes et al. 2022): views agree, two penalties prevent collapse."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.losses import redundancy
from ssljax.ranges import NotNegative


@dataclasses.dataclass(frozen=True)
class VICReg(Method):
  """Section 4. The three fields are the paper's weights lambda, mu and nu.

  Each view passes the network alone, as in the official code; both views share it.
  """

  invariance: NotNegative
  variance: NotNegative
  covariance: NotNegative

  def loss_fn(self, params, state, batch, rng):
    """Eq. 6 over the two views in batch["image"] [B,2,H,W,C]."""
    online, stats = self.forward_views(
      params, state.batch_stats, batch["image"], rng, together=False
    )
    loss = redundancy.vicreg(
      online["projection"], self.invariance, self.variance, self.covariance
    )
    return loss, Aux(stats, (), online, {})
