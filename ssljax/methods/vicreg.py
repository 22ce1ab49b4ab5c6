"""VICReg (Bardes et al. 2022): views agree, two penalties prevent collapse."""

import dataclasses
from typing import ClassVar

from ssljax.core import Aux, Method
from ssljax.fields.ranges import NotNegative
from ssljax.losses import redundancy


@dataclasses.dataclass(frozen=True)
class VICReg(Method):
  """VICReg, section 4. The three fields are the paper's weights lambda, mu and nu.

  Each view passes the network alone, as in the official code; both views share it.
  """

  invariance: NotNegative
  variance: NotNegative
  covariance: NotNegative
  together: ClassVar[bool] = False

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 6 over the projections [B,2,D] of two views."""
    weights = self.invariance, self.variance, self.covariance
    return redundancy.vicreg(rows["projection"], *weights), Aux()
