"""DCL and DCLW (Yeh et al. 2022): SimCLR without the positive in the denominator."""

import dataclasses

from ssljax.core import Aux, Method
from ssljax.fields.ranges import NotNegative, Positive
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class DCL(Method):
  """DCL: SimCLR with another loss, the mean over anchors. `sigma` > 0 makes it DCLW."""

  temperature: Positive
  sigma: NotNegative = 0.0

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 6 over the projections [B,2,D] of two views -> loss f32[], Aux."""
    return contrastive.dcl(rows["projection"], self.temperature, self.sigma), Aux()
