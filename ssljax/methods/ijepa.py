"""I-JEPA (Assran et al. 2023): predict what a slow copy makes of what was not seen."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.losses import masked
from ssljax.nets import LatentPredictor
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class IJEPA(Method):
  """I-JEPA, section 3: from a context of patches the tokens of other blocks.

  The teacher, an average of encoders with decay `tau`, sees the whole picture, and its
  tokens of the blocks, normalised, are predicted one block at a time. Blocks are drawn
  with the views (`augment.masks.Multiblock`), each of a size of its own: of a picture
  the loss is the mean over its blocks of the mean over their patches.
  """

  net: LatentPredictor
  tau: ShareSchedule
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  reads: ClassVar[tuple[str, ...]] = ("target",)
  needs_heads: ClassVar[tuple[str, ...]] = ("patch_predictor",)

  def init(self, rng, batch):
    """Initialises params, batch_stats, and target: the encoder alone."""
    params, stats, _ = super().init(rng, batch)
    return params, stats, memory.slow({"encoder": params["encoder"]}, stats)

  def encode(self, params, state, batch, rng):
    """Encodes contexts of view 0, and each picture's "error" [B] over its blocks."""
    inputs = ("image", "target", "weight", "context", "seen")
    x = {name: batch[name][:, 0] for name in inputs}
    keys = core.draws(rng, batch)
    outputs, stats = self.forward(params, state.batch_stats, x, keys)
    teacher, target_stats = self.target_views(state, {"image": batch["image"]})
    places = x["target"].reshape(len(x["target"]), -1, 1)
    target = jnp.take_along_axis(teacher["patches"][:, 0], places, axis=1)
    target = masked.normalised(target).reshape(outputs["prediction"].shape)
    error = masked.smooth_l1(outputs["prediction"], target)
    features = outputs["features"][:, None]
    rows = {
      "features": features,
      "projection": features,
      "error": masked.weighted(error, x["weight"]).mean(1),
      "seen": x["seen"].astype(jnp.float32),
    }
    return Encoded(rows, stats, target_stats)

  def objective(self, params, rows, state, batch, rng):
    """Averages the error over all pictures."""
    metrics = {"tau": self.tau(state.step), "seen": rows["seen"].mean()}  # patches
    return rows["error"].mean(), Aux(metrics=metrics)

  def after_update(self, params, state, carry):
    """Moves the teacher towards the new encoder."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    encoder = {"encoder": params["encoder"]}
    return params, memory.follow(state.target, encoder, stats, tau)

  def weights(self, state):
    """Returns the teacher's {"params", "batch_stats"}, which the paper evaluates."""
    return state.target
