"""InvaSpread (Ye et al. 2019): views of a picture alike, pictures spread out."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.losses import contrastive
from ssljax.ranges import Positive


@dataclasses.dataclass(frozen=True)
class InvaSpread(Method):
  """Section 3: the batch in place of InstDisc's bank, so that no row is out of date.

  Both views pass the network as one batch, as in the official code.
  """

  temperature: Positive

  def loss_fn(self, params, state, batch, rng):
    """The official criterion over the two views in batch["image"] [B,2,H,W,C]."""
    online, stats = self.forward_views(params, state.batch_stats, batch["image"], rng)
    loss = contrastive.invariant_spread(online["projection"], self.temperature)
    return loss, Aux(stats, (), online, {})
