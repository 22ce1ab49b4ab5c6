"""NNCLR (Dwibedi et al. 2021): the positive is your nearest neighbour in a queue."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.fields.ranges import Count, Positive
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class NNCLR(Method):
  """NNCLR, algorithm 1: queries are neighbours, keys the other view's predictions.

  Neighbours are looked up before the queue (the paper's support set) takes the
  batch's first projections. lightly's NNCLR is another loss, NT-Xent: neighbours have
  other neighbours as negatives too, predictions other predictions.
  """

  temperature: Positive
  queue_size: Count
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "predictor")
  together: ClassVar[bool] = False

  def init(self, rng, batch):
    """Initialises params, batch_stats, target: "queue" [K,D] of random unit rows."""
    rng_net, rng_queue = jax.random.split(rng)
    params, stats, _ = super().init(rng_net, batch)
    row = self.output_shapes(params, stats, batch)["projection"]
    queue = memory.unit_rows(rng_queue, self.queue_size, row.shape[-1])
    return params, stats, {"queue": queue, "pointer": jnp.zeros((), jnp.int32)}

  def objective(self, params, rows, state, batch, rng):
    """Averages the loss of both directions over predictions and projections [B,2,D]."""
    p, z = rows["prediction"], jax.lax.stop_gradient(rows["projection"])
    first, second = (memory.nearest(state.target["queue"], z[:, i]) for i in (0, 1))
    loss = contrastive.info_nce_in_batch(first, p[:, 1], self.temperature)
    loss += contrastive.info_nce_in_batch(second, p[:, 0], self.temperature)
    key = contrastive.unit(z[:, 0])
    metrics = {"neighbour_similarity": (key * first).sum(1).mean()}
    return loss / 2, Aux({"keys": key}, metrics)

  def after_update(self, params, state, carry):
    """Queues the first view's projections."""
    target = state.target
    queue, pointer = memory.enqueue(target["queue"], target["pointer"], carry["keys"])
    return params, {"queue": queue, "pointer": pointer}
