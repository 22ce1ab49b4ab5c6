"""InvaSpread (Ye et al. 2019): views of a picture alike, pictures spread out."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.fields.ranges import Positive
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class InvaSpread(Method):
  """InvaSpread, section 3: the batch is the memory, so that no row is out of date.

  Both views pass the network as one batch, as in the official code.
  """

  temperature: Positive

  def objective(self, params, rows, state, batch, rng):
    """Computes the official criterion over the projections [B,2,D] of two views."""
    return contrastive.invariant_spread(rows["projection"], self.temperature), Aux()
