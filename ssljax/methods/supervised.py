"""Supervised learning: the baseline, and what fine-tuning is once weights are given."""

import dataclasses
from typing import ClassVar

from ssljax.core import Aux, Method
from ssljax.losses import classification


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
  """Cross-entropy of the network's classifier; examples with label -1 do not count.

  With `pretrained.checkpoint` this is fine-tuning, of the encoder alone or, as in
  SimCLR v2 (Chen et al. 2020b, section 2), with the first layers of its projector.
  """

  views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1

  def loss_fn(self, params, state, batch, rng):
    """Mean cross-entropy of view 0 over batch["label"] [B]."""
    out, stats = self.forward(params, state.batch_stats, batch["image"][:, 0], rng)
    logits, label = out["logits"], batch["label"]
    loss = classification.cross_entropy(logits, label)
    metrics = {"train_accuracy": classification.accuracy(logits, label)}
    features = out["features"][:, None]
    return loss, Aux(stats, (), {"features": features, "projection": features}, metrics)

  def classify(self, state, x):
    """Logits [B,C]."""
    return self.apply(state, x)["logits"]
