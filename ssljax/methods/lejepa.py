"""LeJEPA (Balestriero & LeCun 2025): views agree, and embeddings stay Gaussian."""

import dataclasses
from typing import Annotated, ClassVar

import jax

from ssljax import core
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import Count, Positive, Range, Share
from ssljax.losses import contrastive, sigreg
from ssljax.nets.multicrop import MultiCrop


@dataclasses.dataclass(frozen=True)
class LeJEPA(Method):
  """LeJEPA, algorithm 2: all views meet the mean of the global ones; no teacher.

  There is no predictor either. `weight` is the paper's lambda, that of SIGReg, and
  1 - lambda that of the agreement.
  SIGReg looks along `slices` random directions, new at every step, and compares
  characteristic functions at `points` up to `reach`.

  Views of one resolution pass the encoder together and all views the projector.
  """

  weight: Share
  slices: Count
  points: Annotated[int, Range(2)] = 17
  reach: Positive = 3.0
  reads: ClassVar[tuple[str, ...]] = ("local",)
  num_views: ClassVar[int] = 0

  def encode(self, params, state, batch, rng):
    """Encodes all views -> projections [B,V+L,D], features [B,V,F] of global ones."""
    views = {name: batch[name] for name in ("image", "local") if name in batch}
    net = self.net.clone(encoder=MultiCrop(self.net.encoder))
    keys = core.draws(jax.random.fold_in(rng, 0), batch)
    merged, stats = self.forward(params, state.batch_stats, views, keys, net)
    b, v = batch["image"].shape[:2]
    rows = jax.tree.map(lambda x: x.reshape(b, -1, *x.shape[1:]), merged)
    return Encoded({**rows, "features": rows["features"][:, :v]}, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes agreement and SIGReg over the projections [B,V+L,D] of all views."""
    z, count = rows["projection"], rows["features"].shape[1]
    directions = self.directions(jax.random.fold_in(rng, 1), z.shape[-1])
    distance = sigreg.invariance(z, count)
    gaussian = sigreg.sigreg(z, directions, self.points, self.reach)
    loss = (1 - self.weight) * distance + self.weight * gaussian
    return loss, Aux(metrics={"invariance": distance, "sigreg": gaussian})

  def directions(self, rng, dim):
    """Draws unit vectors [M,D], uniform on the sphere: the same for the whole batch."""
    return contrastive.unit(jax.random.normal(rng, (self.slices, dim)))
