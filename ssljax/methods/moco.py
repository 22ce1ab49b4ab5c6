"""MoCo v1 and v2 (He et al. 2020; Chen et al. 2020): a queue of keys as dictionary."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.losses import contrastive
from ssljax.ranges import Count, OneOf, Positive, Share


@dataclasses.dataclass(frozen=True)
class MoCo(Method):
  """Algorithm 1. v1 and v2 are configs: head, temperature, views and schedule.

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
    """-> params, batch_stats, target with "queue" [K,D] of random directions."""
    rng_net, rng_queue = jax.random.split(rng)
    params, stats, _ = super().init(rng_net, batch)
    key = self.output_shapes(params, stats, batch["image"][:, 0])["projection"]
    target = {
      "params": params,
      "batch_stats": stats,
      "queue": memory.unit_rows(rng_queue, self.queue_size, key.shape[-1]),
      "pointer": jnp.zeros((), jnp.int32),
    }
    return params, stats, target

  def loss_fn(self, params, state, batch, rng):
    """InfoNCE (eq. 1) of queries on view 0 against keys on view 1 and the queue."""
    query, stats = self.forward(params, state.batch_stats, batch["image"][:, 0])
    key, kept = self.key_pass(state.target, batch["image"][:, 1], rng)
    queue = state.target["queue"]
    loss = contrastive.info_nce(query["projection"], key, queue, self.temperature)
    turnover = queue.shape[0] // key.shape[0]
    outputs = {
      "features": query["features"][:, None],
      "projection": jnp.stack([query["projection"], key], 1),
    }
    metrics = {"queue_age": jnp.minimum(state.step, turnover).astype(jnp.float32)}
    return loss, Aux(stats, (key, kept), outputs, metrics)

  def key_pass(self, target, image, rng):
    """Image [B,H,W,C] -> unit keys [B,D] without gradient, the target's new stats."""
    if self.bn_shuffle == "permute":
      order = jax.random.permutation(rng, image.shape[0])
      out, kept = self.forward(target["params"], target["batch_stats"], image[order])
      key = out["projection"][jnp.argsort(order)]
    else:
      strided = self.net.strided()
      out, kept = self.forward(
        target["params"], target["batch_stats"], image, net=strided
      )
      key = out["projection"]
    return jax.lax.stop_gradient(contrastive.unit(key)), kept

  def after_update(self, params, state, carry):
    """The key encoder follows the new weights (eq. 2); the queue takes the keys."""
    key, kept = carry
    target = state.target
    queue, pointer = memory.enqueue(target["queue"], target["pointer"], key)
    return params, {
      "params": memory.ema(params, target["params"], self.momentum),
      "batch_stats": kept,
      "queue": queue,
      "pointer": pointer,
    }
