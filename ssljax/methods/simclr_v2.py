"""SimCLR v2's pre-training (Chen et al. 2020b): SimCLR with MoCo's memory."""

import dataclasses

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import Count, Positive, Share
from ssljax.losses import contrastive


@dataclasses.dataclass(frozen=True)
class SimCLRV2(Method):
  """SimCLR v2, section 2. Without the memory, as the code is released, it is SimCLR.

  Views are contrasted with keys: what a slow average of the network makes of this
  batch and of the last ones, as the paper's first author describes it
  (google-research/simclr, issue 115). That code was not released; here each view is
  an anchor and leaves a key, two a picture in the `queue_size`. As in `simclr` the
  loss sums the views' means.
  """

  temperature: Positive
  momentum: Share
  queue_size: Count

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

  def encode(self, params, state, batch, rng):
    """Encodes all views by both networks; "keys" [B,V,D] carry no gradient."""
    online, stats, _ = super().encode(params, state, batch, rng)
    key, target_stats = self.target_views(state, {"image": batch["image"]})
    return Encoded({**online, "keys": key["projection"]}, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes NT-Xent of the views against the target's keys [B,V,D] and the queue."""
    keys, queue = rows["keys"], state.target["queue"]
    loss = contrastive.nt_xent_queue(rows["projection"], keys, queue, self.temperature)
    return 2 * loss, Aux({"keys": keys})

  def after_update(self, params, state, carry):
    """Moves the averaged network to the new weights, and queues the batch's keys."""
    target = memory.follow(state.target, params, carry["target_stats"], self.momentum)
    keys = contrastive.unit(carry["keys"]).reshape(-1, carry["keys"].shape[-1])
    queue, pointer = memory.enqueue(target["queue"], target["pointer"], keys)
    return params, {**target, "queue": queue, "pointer": pointer}
