"""MoCo v1 and v2 (He et al. 2020; Chen et al. 2020): a queue of keys as dictionary."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import Count, OneOf, Positive, Share
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class MoCo(Method):
  """MoCo, algorithm 1. v1 and v2 are configs: head, temperature, views and schedule.

  A key must not be normalised with its own query's BatchNorm group, or the batch
  leaks the answer. `bn_shuffle` says how: "strided" gives keys groups of every
  (B/n)-th example, which moves no image; "permute" is the published random
  permutation before the key pass, undone after it. The groups' size is the encoder's
  `bn_group_size`; with 0 there is one group and nothing to keep apart.

  The average in `after_update` is the published "before the key forward", shifted by
  one step: the same sequence of key encoders.
  """

  temperature: Positive
  momentum: Share
  queue_size: Count
  bn_shuffle: Annotated[str, OneOf(("strided", "permute"))] = "strided"
  least_batch: ClassVar[int] = 1  # negatives come from the queue

  def init(self, rng, batch):
    """Initialises params, batch_stats, target: "queue" [K,D] of random unit rows."""
    rng_net, rng_queue = jax.random.split(rng)
    params, stats, _ = super().init(rng_net, batch)
    key = self.output_shapes(params, stats, batch)["projection"]
    target = {
      **memory.slow(params, stats),
      "queue": memory.unit_rows(rng_queue, self.queue_size, key.shape[-1]),
      "pointer": jnp.zeros((), jnp.int32),
    }
    return params, stats, target

  @property
  def undivided(self):
    """Says why a batch that is permuted must be encoded whole; "": it need not.

    The published permutation is of the whole batch.
    """
    if self.bn_shuffle == "permute":
      return "method.bn_shuffle='permute' deals the whole batch; set it to 'strided'"
    return super().undivided

  def encode(self, params, state, batch, rng):
    """Encodes queries of view 0 and unit keys of view 1, side by side [B,2,D]."""
    query, key = ({"image": batch["image"][:, i]} for i in (0, 1))
    drawn = core.draws(rng, batch)
    online, stats = self.forward(params, state.batch_stats, query, drawn)
    keys, target_stats = self.key_pass(state.target, key, rng)
    rows = {
      "features": online["features"][:, None],
      "projection": jnp.stack([online["projection"], keys], 1),
    }
    return Encoded(rows, stats, target_stats)

  def key_pass(self, target, x, rng):
    """Encodes keys: inputs [B,...] -> unit keys [B,D] without gradient, new stats."""
    outputs, stats = self.key_outputs(target, x, rng)
    return contrastive.unit(outputs["projection"]), stats

  def key_outputs(self, target, x, rng):
    """Passes inputs [B,...] of keys -> outputs [B,...] without gradient, new stats."""
    weights = target["params"], target["batch_stats"]
    if self.bn_shuffle == "permute":
      order = jax.random.permutation(rng, x["image"].shape[0])
      outputs, stats = self.forward(*weights, {"image": x["image"][order]})
      back = jnp.argsort(order)
      outputs = jax.tree.map(lambda x: x[back], outputs)
    else:
      outputs, stats = self.forward(*weights, x, net=self.net.strided())
    return jax.lax.stop_gradient(outputs), stats

  def objective(self, params, rows, state, batch, rng):
    """Computes InfoNCE (eq. 1) of queries [B,D] against keys and the queue [K,D]."""
    query, key = rows["projection"][:, 0], rows["projection"][:, 1]
    queue = state.target["queue"]
    loss = contrastive.info_nce(query, key, queue, self.temperature)
    turnover = queue.shape[0] // key.shape[0]
    age = jnp.minimum(state.step, turnover).astype(jnp.float32)
    return loss, Aux({"keys": key}, {"queue_age": age})

  def after_update(self, params, state, carry):
    """Moves the key encoder to the new weights (eq. 2), and queues the batch's keys."""
    target = memory.follow(state.target, params, carry["target_stats"], self.momentum)
    queue, pointer = memory.enqueue(target["queue"], target["pointer"], carry["keys"])
    return params, {**target, "queue": queue, "pointer": pointer}
