"""Metric learning: one network, the losses from 2006 to 2020 that compare its rows."""

import dataclasses
from typing import Annotated, ClassVar

from ssljax.core import Aux, Method
from ssljax.fields.ranges import NotNegative, OneOf, Positive
from ssljax.losses import metric, supervised
from ssljax.methods.supcon import known

LOSSES = {
  "margin": lambda m, x, positive: metric.margin(x, positive, m.margin),
  "triplet": lambda m, x, positive: metric.triplet(x, positive, m.margin, m.mining),
  "n_pair": lambda m, x, positive: metric.n_pair(x, positive, m.l2),
  "info_nce": lambda m, x, positive: metric.info_nce(x, positive, m.temperature),
  "nce": lambda m, x, positive: metric.nce(x, positive, m.temperature),
  "logistic": lambda m, x, positive: metric.logistic(x, positive, m.temperature),
}


@dataclasses.dataclass(frozen=True)
class MetricLearning(Method):
  """Compares all views of the batch by one `loss` of LOSSES.

  Views of one picture are positives; with `labels` so are pictures of one label,
  other than -1. `margin` is of "margin" and "triplet", `mining` of "triplet", `l2` of
  "n_pair", `temperature` of the others.
  """

  loss: Annotated[str, OneOf(LOSSES)]
  labels: bool
  margin: NotNegative
  mining: Annotated[str, OneOf(metric.MINING)]
  l2: NotNegative
  temperature: Positive
  num_views: ClassVar[int] = 0

  @property
  def needs_labels(self):
    """Whether labels make the positives; else other views alone do."""
    return self.labels

  def objective(self, params, rows, state, batch, rng):
    """Computes the loss over projections [B,V,D] of all views and labels [B]."""
    z = rows["projection"]
    b, v, dim = z.shape
    group = supervised.groups(known(batch["label"], v, self.labels))
    positive = metric.of_views(group[:, None] == group[None], v)
    return LOSSES[self.loss](self, z.reshape(b * v, dim), positive), Aux()
