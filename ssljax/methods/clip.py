"""CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023): pictures learn from text."""

import dataclasses
import math
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import core
from ssljax.core import Aux, Encoded, Method
from ssljax.fields.ranges import OneOf
from ssljax.losses import paired
from ssljax.losses.contrastive import unit
from ssljax.nets import TwoTowers

STARTS = {  # loss -> what it learns besides the network, and from where
  "softmax": {"logit_scale": math.log(1 / 0.07)},
  "sigmoid": {"logit_scale": math.log(10), "logit_bias": -10.0},
}
MOST = math.log(100)  # of the logit scale, itself the logarithm of the factor
AT_ONCE = 64  # classes whose prompts are read together


@dataclasses.dataclass(frozen=True)
class CLIP(Method):
  """CLIP, figure 3: a picture and its caption meet; the batch's other captions do not.

  `loss` is "softmax" (CLIP) or "sigmoid" (SigLIP). The scale of the cosines is learned
  and kept between 1 and 100, as in open_clip; the paper bounds it from above. Without
  a projector pictures' features are compared as they are, as in SigLIP.
  """

  net: TwoTowers
  loss: Annotated[str, OneOf(STARTS)] = "softmax"
  num_views: ClassVar[int] = 1
  needs_entries: ClassVar[tuple[str, ...]] = ("text",)
  needs_heads: ClassVar[tuple[str, ...]] = ("text",)

  def init(self, rng, batch):
    """Initialises params, with the loss's own scalars, batch_stats, empty target."""
    params, stats = self.init_net(rng, _pair(batch))
    learned = {k: jnp.float32(start) for k, start in STARTS[self.loss].items()}
    return {**params, **learned}, stats, {}

  def encode(self, params, state, batch, rng):
    """Encodes view 0 and its caption -> projections [B,2,D]."""
    keys = core.draws(rng, batch)
    online, stats = self.forward(params, state.batch_stats, _pair(batch), keys)
    rows = {
      "features": online["features"][:, None],
      "projection": jnp.stack([online["projection"], online["text"]], 1),
    }
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes the loss over the projections [B,2,D] of pictures and captions."""
    image, text = rows["projection"][:, 0], rows["projection"][:, 1]
    scale = jnp.exp(params["logit_scale"])
    metrics = {"logit_scale": scale}
    if self.loss == "softmax":
      loss, matched = paired.clip(image, text, scale)
    else:
      bias = metrics["logit_bias"] = params["logit_bias"]
      loss, matched = paired.siglip(image, text, scale, bias)
    return loss, Aux(metrics={**metrics, "pair_accuracy": matched})

  def after_update(self, params, state, carry):
    """Projects the scale back into its bounds."""
    scale = jnp.clip(params["logit_scale"], 0.0, MOST)
    return {**params, "logit_scale": scale}, state.target

  def name_classes(self, state, prompts):
    """Returns the state that classifies by prompts i32 [C,P,T]: zero-shot, section 3.1.

    P ways to say each of C classes; a class is the mean of their unit vectors,
    normalised again, and kept as "classes" [C,D] in `target`.
    """

    def name(ways):
      return unit(unit(self.read(state, ways)).mean(0))

    classes = jax.lax.map(name, prompts, batch_size=AT_ONCE)
    return state.replace(target={"classes": classes})

  def read(self, state, text):
    """Encodes texts i32 [P,T] -> their projections [P,D]."""
    return self.net.apply(self.weights(state), {"text": text}, train=False)["text"]

  def classify(self, state, image):
    """Scores pictures [B,H,W,C] -> logits [B,C] f32; None until classes have names."""
    if "classes" not in state.target:
      return None
    image = self.apply(state, image)["projection"]
    logits = jnp.exp(state.params["logit_scale"]) * paired.cosines(
      image, state.target["classes"]
    )
    return logits + state.params.get("logit_bias", 0.0)


def _pair(batch) -> dict[str, jax.Array]:
  return {"image": batch["image"][:, 0], "text": batch["text"]}
