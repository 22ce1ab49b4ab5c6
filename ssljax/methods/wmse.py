"""W-MSE (Ermolov et al. 2021): whitened embeddings of two views agree."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import core
from ssljax.core import Aux, Method
from ssljax.fields.ranges import Count, Range
from ssljax.losses import redundancy


@dataclasses.dataclass(frozen=True)
class WMSE(Method):
  """W-MSE, section 3, with two views.

  The batch is dealt at random to sub-batches of `sub_batch` examples, `iterations`
  times. An example's place is drawn by its index, so that a deal depends neither on
  the order of the batch nor on the devices; between these go projections, once, and
  no picture. Views pass alone; the official code puts both through one head at once.
  """

  sub_batch: Annotated[int, Range(2)]
  iterations: Count
  together: ClassVar[bool] = False

  def objective(self, params, rows, state, batch, rng):
    """Computes the loss over the projections [B,2,D] of two views, dealt by index."""
    _, rng_deal = jax.random.split(rng)
    keys = core.keys(rng_deal, batch["index"])
    places = jax.vmap(lambda key: jax.random.uniform(key, (self.iterations,)))(keys)
    order = jnp.argsort(places, axis=0).T
    loss = redundancy.w_mse(rows["projection"], order, self.sub_batch)
    return loss, Aux()
