"""SimCLR (Chen et al. 2020): agree with your other view, against the whole batch."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.fields.ranges import Positive
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class SimCLR(Method):
  """SimCLR, algorithm 1. Both views pass the network as one batch, as officially.

  Like that code the loss sums the two views' means, which is twice the paper's mean
  over all 2B anchors: its learning rates and weight decays carry over.
  """

  temperature: Positive

  def objective(self, params, rows, state, batch, rng):
    """Computes NT-Xent (eq. 1) over the projections [B,V,D] of all views."""
    return 2 * contrastive.nt_xent(rows["projection"], self.temperature), Aux()
