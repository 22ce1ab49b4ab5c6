"""SwAV (Caron et al. 2020): a crop predicts the cluster that another one is put in."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import Count, NotNegative, Number, Positive
from ssljax.losses import clustering, contrastive
from ssljax.methods.dino import headless, prototypes, unit
from ssljax.nets.heads import l2_normalise
from ssljax.nets.multicrop import MultiCrop


@dataclasses.dataclass(frozen=True)
class SwAV(Method):
  """SwAV, algorithm 1 with multi-crop: global views are assigned, every crop predicts.

  The assignments are over the global batch and, with `queue_size`, over as many
  earlier embeddings of each global view, scored by the prototypes of now. The queue
  takes part once all it holds is from epoch `queue_epoch` on.

  Crops of one resolution pass the encoder together and all crops the heads, as in the
  official code. It normalises the prototypes at the head of a step, outside the graph;
  here that is done in `init` and after the optimizer, which is the same sequence.
  """

  temperature: Positive
  epsilon: Positive  # of the assignments' entropy: smaller is sharper
  steps_per_epoch: int
  queue_size: Number = 0
  queue_epoch: NotNegative = 0.0
  iterations: Count = 3  # of Sinkhorn and Knopp
  reads: ClassVar[tuple[str, ...]] = ("local",)
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "prototypes")

  def init(self, rng, batch):
    """Initialises params, batch_stats, target: empty, or "queue" [K,V,D], "pointer"."""
    params, stats, _ = super().init(rng, batch)
    target = {}
    if self.queue_size:
      row = self.output_shapes(params, stats, batch)["projection"]
      views = batch["image"].shape[1]
      queue = jnp.zeros((self.queue_size, views, row.shape[-1]))
      target = {"queue": queue, "pointer": jnp.zeros((), jnp.int32)}
    return with_unit_prototypes(params), stats, target

  def encode(self, params, state, batch, rng):
    """Encodes all crops -> crops [B,V+L,D], outputs [B,V,...] of the global ones."""
    crops = {name: batch[name] for name in ("image", "local") if name in batch}
    net = headless(self.net).clone(encoder=MultiCrop(self.net.encoder))
    merged, stats = self.forward(
      params, state.batch_stats, crops, core.draws(rng, batch), net
    )
    b, v = batch["image"].shape[:2]
    online = jax.tree.map(lambda x: x.reshape(b, -1, *x.shape[1:]), merged)
    rows = jax.lax.stop_gradient(jax.tree.map(lambda x: x[:, :v], online))
    return Encoded({**rows, "crops": online["projection"]}, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 2 over the rows [B,V+L,D] of all crops, the first V global."""
    head, embedding = self.net.prototypes, contrastive.unit(rows["projection"])
    crops, own = unit(head, rows["crops"]), prototypes(head, params["prototypes"])
    shift = self.shift(crops[:, : embedding.shape[1]], own, state)
    loss, assigned = clustering.swav(crops, own, shift, self.epsilon, self.temperature)
    metrics = {
      "assignment_entropy": clustering.entropy(assigned),
      "prototype_usage": clustering.usage(assigned),
    }
    return loss, Aux({"embedding": embedding}, metrics)

  def shift(self, crops, prototypes, state):
    """Computes what equals out the use of prototypes by crops [B,V,D] -> [V,K]."""
    sinkhorn = functools.partial(
      clustering.sinkhorn, crops, prototypes, self.epsilon, iterations=self.iterations
    )
    if not self.queue_size:
      return sinkhorn()
    start = round(self.queue_epoch * self.steps_per_epoch)
    full = start + self.queue_size // len(crops)
    remembered = state.target["queue"].astype(crops.dtype)
    return jax.lax.cond(
      state.step >= full, lambda: sinkhorn(remembered=remembered), sinkhorn
    )

  def after_update(self, params, state, carry):
    """Returns the prototypes to the sphere, and queues the batch's embeddings."""
    target = state.target
    if self.queue_size:
      queue, pointer = memory.enqueue(
        target["queue"], target["pointer"], carry["embedding"]
      )
      target = {"queue": queue, "pointer": pointer}
    return with_unit_prototypes(params), target


def with_unit_prototypes(params):
  """Scales each prototype, a column of the kernel [D,K], to length 1 -> params."""
  prototypes = params["prototypes"]
  kernel = l2_normalise(prototypes["kernel"], axis=0)
  return {**params, "prototypes": {**prototypes, "kernel": kernel}}
