"""SimSiam (Chen & He 2021): no negatives, no momentum, a stopped gradient."""

import dataclasses
from typing import ClassVar

import jax

from ssljax.core import Aux, Method
from ssljax.losses import predictive


@dataclasses.dataclass(frozen=True)
class SimSiam(Method):
  """SimSiam, algorithm 1. Each view passes the network alone, as in the official code.

  The published predictor's learning rate stays constant: `optimizer.groups`. Without
  `stop_gradient` (figure 2), or comparing projections without `predict` (table 1), it
  collapses: docs/collapse.md.
  """

  stop_gradient: bool = True
  predict: bool = True  # False: the predictor, where there is one, learns nothing
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "predictor")
  together: ClassVar[bool] = False

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 4, -1 to 1, over predictions and projections [B,2,D]."""
    z = rows["projection"]
    p = rows["prediction"] if self.predict else z
    if self.stop_gradient:
      z = jax.lax.stop_gradient(z)
    loss = predictive.negative_cosine(p[:, 0], z[:, 1]) / 2
    loss += predictive.negative_cosine(p[:, 1], z[:, 0]) / 2
    return loss, Aux()
