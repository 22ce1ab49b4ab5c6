"""data2vec (Baevski et al. 2022) on pictures: a slow copy's tokens of hidden ones."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Positive
from ssljax.losses import masked
from ssljax.schedules import ShareSchedule


@dataclasses.dataclass(frozen=True)
class Data2Vec(Method):
  """data2vec, section 3: hidden patches predict what the last `blocks` blocks made.

  The teacher, an average of encoders with decay `tau`, sees all patches. A target is
  the mean of its last blocks' tokens, each normalised, and it too; what meets it, by
  smooth L1 with `beta`, is a linear map of the student's token: `patch_projector`.
  """

  blocks: Count
  beta: Positive
  tau: ShareSchedule
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  reads: ClassVar[tuple[str, ...]] = ("mask",)
  needs_heads: ClassVar[tuple[str, ...]] = ("patch_projector",)

  def init(self, rng, batch):
    """Initialises params, batch_stats, and target: a copy of both."""
    params, stats, _ = super().init(rng, batch)
    return params, stats, memory.slow(params, stats)

  def encode(self, params, state, batch, rng):
    """Encodes view 0 without its patches in "mask", and the "error" [B] of these."""
    x = {"image": batch["image"][:, 0], "mask": batch["mask"][:, 0]}
    keys = core.draws(rng, batch)
    outputs, stats = self.forward(params, state.batch_stats, x, keys)
    target = self.target(state, x["image"])
    prediction, width = outputs["patch_projection"], target.shape[-1]
    if prediction.shape[-1] != width:
      raise ConfigError(
        f"method.patch_projector.out={prediction.shape[-1]} must be the encoder's "
        f"width, {width}"
      )
    error = masked.smooth_l1(prediction, target, self.beta)
    features = outputs["features"][:, None]
    rows = {
      "features": features,
      "projection": features,
      "error": masked.weighted(error, x["mask"]),
    }
    return Encoded(rows, stats, state.target["batch_stats"])

  def target(self, state, image):
    """Averages the teacher's last blocks' tokens of pictures -> [B,N,D], no gradient.

    They are as no final norm has seen them.
    """
    encoder = self.net.encoder.clone(pool="mean_norm")
    bare = dataclasses.replace(
      self, net=self.net.clone(encoder=encoder, patch_projector=None)
    )
    tokens = bare.layers(state, image)["tokens"][-self.blocks :]
    normalised = [masked.normalised(block["patches"]) for block in tokens]
    return jax.lax.stop_gradient(masked.normalised(jnp.stack(normalised).mean(0)))

  def objective(self, params, rows, state, batch, rng):
    """Averages the error of the hidden patches over all pictures."""
    return rows["error"].mean(), Aux(metrics={"tau": self.tau(state.step)})

  def after_update(self, params, state, carry):
    """Moves the teacher towards the new encoder."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    return params, memory.follow(state.target, params, stats, tau)

  def weights(self, state):
    """Returns the teacher's {"params", "batch_stats"}, which the paper evaluates."""
    return state.target
