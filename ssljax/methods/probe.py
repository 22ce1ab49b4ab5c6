"""The online linear probe: a classifier that learns beside the method."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ssljax.core.state import Metrics
from ssljax.losses import classification


@dataclasses.dataclass(frozen=True)
class OnlineProbe:
  """A linear classifier of features that carry no gradient, trained in the same step.

  SimCLR and BYOL report such a head while pre-training. It never touches the method,
  which is not shown its weights. Examples with label -1 do not count.
  """

  num_classes: int

  def init(self, dim: int) -> dict[str, jax.Array]:
    """Initialises {"kernel" [D,C], "bias" [C]} of zeros, for features of size `dim`."""
    return {
      "kernel": jnp.zeros((dim, self.num_classes)),
      "bias": jnp.zeros(self.num_classes),
    }

  def loss(
    self, params: Any, features: jax.Array, label: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    """Computes the cross-entropy f32[] of features [B,D] over label [B], metrics."""
    logits = features.astype(jnp.float32) @ params["kernel"] + params["bias"][None]
    loss = classification.cross_entropy(logits, label)
    accuracy = classification.accuracy(logits, label)
    return loss, {"probe_loss": loss, "probe_accuracy": accuracy}
