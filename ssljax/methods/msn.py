"""MSN (Assran et al. 2022): views with patches left out are assigned as a whole one."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import core, memory
from ssljax.core import Aux, Encoded, Method
from ssljax.fields import ConfigError
from ssljax.fields.ranges import NotNegative, Number, Positive, Range
from ssljax.losses import clustering
from ssljax.methods.mae import noise
from ssljax.schedules import PositiveSchedule, ShareSchedule


@dataclasses.dataclass(frozen=True)
class MSN(Method):
  """MSN, section 3: the target is view 0, the anchors view 1 and the local views.

  Of view 1 a share `patch_drop` of the patches is left out. The teacher, an average
  with decay `tau`, sees the target; both are assigned to the same prototypes, the
  target by a temperature `sharpening` times as high and `iterations` of Sinkhorn's.
  """

  temperature: Positive
  sharpening: PositiveSchedule
  tau: ShareSchedule
  patch_drop: Annotated[float, Range(0, below=1)]
  me_max: NotNegative  # weights of the paper's regulariser
  entropy: NotNegative  # and of its code's, of each prediction
  iterations: Number = 3  # of Sinkhorn and Knopp; 0: none
  reads: ClassVar[tuple[str, ...]] = ("local",)
  needs_heads: ClassVar[tuple[str, ...]] = ("projector", "prototypes")

  def init(self, rng, batch):
    """Initialises params, batch_stats, target: a copy without prototypes."""
    params, stats, _ = super().init(rng, batch)
    return params, stats, memory.slow(_slow(params), stats)

  def encode(self, params, state, batch, rng):
    """Encodes anchors [B,1+L,D] by the student, the target [B,D] by the teacher."""
    rng_mask, rng_view, rng_local = jax.random.split(rng, 3)
    net = self.net.clone(prototypes=None)
    x = {"image": batch["image"][:, 1]}
    if self.patch_drop:
      x["keep"] = self.draw(rng_mask, batch["index"], batch["image"].shape[2:4])
    x = jax.tree.map(lambda x: x[:, None], x)
    anchors, stats = self.forward_views(
      params, state.batch_stats, x, core.draws(rng_view, batch), net=net
    )
    rows = anchors["projection"]
    if "local" in batch:
      crops, keys = {"image": batch["local"]}, core.draws(rng_local, batch)
      local, stats = self.forward_views(params, stats, crops, keys, net=net)
      rows = jnp.concatenate([rows, local["projection"]], 1)
    whole = {"image": batch["image"][:, :1]}
    target, target_stats = self.target_views(state, whole, net)
    rows = {
      "features": anchors["features"],
      "projection": anchors["projection"],
      "anchors": rows,
      "target": target["projection"][:, 0],
    }
    return Encoded(rows, stats, target_stats)

  def draw(self, rng, index, size):
    """Draws the patches to keep of examples `index` [B] -> i32 [B,n]."""
    patch = getattr(self.net.encoder, "patch_size", 0)
    if not patch:
      raise ConfigError(
        f"method.patch_drop={self.patch_drop} leaves out patches, and the encoder has "
        "none; set it to 0, or encoder.name to a vision transformer such as vit_s"
      )
    count = (size[0] // patch) * (size[1] // patch)
    kept = max(1, int(count * (1 - self.patch_drop)))
    return jnp.argsort(noise(rng, index, count), axis=1)[:, :kept]

  def objective(self, params, rows, state, batch, rng):
    """Computes eq. 1 over anchors [B,1+L,D] and targets [B,D]."""
    terms = clustering.msn(
      rows["anchors"],
      rows["target"],
      params["prototypes"]["kernel"].T,
      self.temperature,
      self.sharpening(state.step),
      self.iterations,
    )
    metrics = {"tau": self.tau(state.step), **terms._asdict()}
    loss = terms.cross_entropy + self.me_max * terms.me_max
    return loss + self.entropy * terms.entropy, Aux(metrics=metrics)

  def after_update(self, params, state, carry):
    """Moves the teacher towards the new weights."""
    tau, stats = self.tau(state.step), carry["target_stats"]
    return params, memory.follow(state.target, _slow(params), stats, tau)

  def weights(self, state):
    """Returns the teacher's weights, which the paper evaluates, and the prototypes."""
    params = {**state.params, **state.target["params"]}
    return {"params": params, "batch_stats": state.target["batch_stats"]}


def _slow(params):
  return {name: value for name, value in params.items() if name != "prototypes"}
