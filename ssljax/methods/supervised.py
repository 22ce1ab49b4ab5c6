"""Supervised learning: the baseline, and what fine-tuning is once weights are given."""

import dataclasses
from typing import ClassVar

from ssljax import core
from ssljax.core import Aux, Encoded, Method
from ssljax.losses import classification


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
  """Cross-entropy of the network's classifier; examples with label -1 do not count.

  With `pretrained.checkpoint` this is fine-tuning, of the encoder alone or, as in
  SimCLR v2 (Chen et al. 2020b, section 2), with the first layers of its projector.
  """

  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  needs_heads: ClassVar[tuple[str, ...]] = ("classifier",)

  def encode(self, params, state, batch, rng):
    """Encodes view 0 of each example by the network."""
    x, keys = {"image": batch["image"][:, 0]}, core.draws(rng, batch)
    outputs, stats = self.forward(params, state.batch_stats, x, keys)
    features = outputs["features"][:, None]
    rows = {"features": features, "projection": features, "logits": outputs["logits"]}
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes the mean cross-entropy of logits [B,C] over batch["label"] [B]."""
    logits, label = rows["logits"], batch["label"]
    loss = classification.cross_entropy(logits, label)
    return loss, Aux(metrics={"train_accuracy": classification.accuracy(logits, label)})

  def classify(self, state, x):
    """Scores the classes of one view [B,...] by the network's classifier: [B,C]."""
    return self.apply(state, x)["logits"]
