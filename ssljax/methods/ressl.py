"""ReSSL (Zheng et al. 2021): stand to others as a slow copy of yourself does."""

import dataclasses

from ssljax.core import Aux
from ssljax.fields.ranges import Positive
from ssljax.losses import clustering
from ssljax.methods.moco import MoCo


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReSSL(MoCo):
  """ReSSL, algorithm 1: MoCo's state and passes, and no positive or negative.

  The teacher, MoCo's key encoder, sees view 1, which is weakly changed; by its
  likeness to the queue at `key_temperature` the student's at `temperature` is judged.
  """

  key_temperature: Positive

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 6 of queries and keys [B,D] over the queue [K,D]."""
    query, key = rows["projection"][:, 0], rows["projection"][:, 1]
    temperatures = self.temperature, self.key_temperature
    loss = clustering.relation(query, key, state.target["queue"], *temperatures)
    return loss, Aux({"keys": key})
