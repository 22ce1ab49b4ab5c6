"""Barlow Twins (Zbontar et al. 2021): a dimension agrees with itself alone."""

import dataclasses
from typing import ClassVar

from ssljax.core import Aux, Method
from ssljax.fields.ranges import Count, NotNegative
from ssljax.losses import redundancy


@dataclasses.dataclass(frozen=True)
class BarlowTwins(Method):
  """Barlow Twins, algorithm 1. Each view passes the network alone, as officially.

  `off_diagonal` is the paper's lambda. The correlation is that of the global batch.
  The official code sums it over processes outside of autograd, and the mean over them
  leaves of its gradient one part in `world_size`: here a number, 1 for the gradient of
  eq. 1. Under LARS kernels take the same steps (but for a decay that counts as many
  times more), biases and norms, which LARS does not scale, steps that much smaller.
  """

  off_diagonal: NotNegative
  world_size: Count = 1
  together: ClassVar[bool] = False

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 1 over the projections [B,2,D] of two views -> loss f32[], Aux."""
    loss = redundancy.barlow_twins(rows["projection"], self.off_diagonal)
    return loss / self.world_size, Aux(loss=loss)
