"""SupCon (Khosla et al. 2020): examples of one class are positives of each other."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import memory
from ssljax.core import Aux, Method
from ssljax.fields import ConfigError
from ssljax.fields.ranges import OneOf, Positive
from ssljax.losses import supervised
from ssljax.methods.moco import MoCo


@dataclasses.dataclass(frozen=True)
class SupCon(Method):
  """SupCon, eq. 2 on the batch, as the official code computes it.

  An example with label -1 has its own views as its only positives; with
  `labels=False` every example is such a one, which is SimCLR. The loss is scaled by
  temperature / base_temperature.
  """

  temperature: Positive
  base_temperature: Positive
  labels: bool = True
  contrast_mode: Annotated[str, OneOf(("all", "one"))] = "all"
  num_views: ClassVar[int] = 0

  @property
  def needs_labels(self):
    """Whether labels make the positives; else other views alone do."""
    return self.labels

  def objective(self, params, rows, state, batch, rng):
    """Computes L_out over projections [B,V,D] of all views and batch["label"] [B]."""
    z = rows["projection"]
    label = known(batch["label"], z.shape[1], self.labels)
    numbers = self.temperature, self.base_temperature, self.contrast_mode
    return supervised.sup_con(z, label, *numbers), Aux()


@dataclasses.dataclass(frozen=True)
class SupConMoCo(MoCo):
  """SupCon, section 4.1, "memory based alternative": MoCo with the queue's labels.

  The paper and the official repository report it and publish no code. Here a query's
  positives are its own key and the keys in the queue that have its label; with labels
  of -1 alone it is MoCo, times temperature / base_temperature.
  """

  base_temperature: Positive = 0.07

  @property
  def needs_labels(self):
    """Returns True: without labels this would be MoCo."""
    return True

  def init(self, rng, batch):
    """Initialises MoCo's params, stats and target, and "queue_label" i32 [K] of -1."""
    params, stats, target = super().init(rng, batch)
    unknown = jnp.full(self.queue_size, -1, jnp.int32)
    return params, stats, {**target, "queue_label": unknown}

  def objective(self, params, rows, state, batch, rng):
    """Computes L_out of queries of view 0 against keys of view 1 and the queue."""
    query, key = rows["projection"][:, 0], rows["projection"][:, 1]
    label, target = batch["label"], state.target
    loss, found = supervised.sup_con_queue(
      query,
      key,
      target["queue"],
      label,
      target["queue_label"],
      self.temperature,
      self.base_temperature,
    )
    return loss, Aux({"keys": key, "labels": label}, {"positives": found.mean()})

  def after_update(self, params, state, carry):
    """Queues the batch's keys and, in the same rows, their labels."""
    params, target = super().after_update(params, state, carry)
    queue_label, _ = memory.enqueue(
      state.target["queue_label"], state.target["pointer"], carry["labels"]
    )
    return params, {**target, "queue_label": queue_label}


def known(label: jax.Array, views: int, labels: bool) -> jax.Array:
  """Returns labels i32 [B] or, without `labels`, -1: views alone are positives.

  ConfigError if that leaves none.
  """
  if views == 1 and not labels:
    raise ConfigError(
      "method.labels=False takes other views of a picture as positives, and there is "
      "one view; set method.labels=True or an augment.recipe of two views"
    )
  return label if labels else jnp.full_like(label, -1)
