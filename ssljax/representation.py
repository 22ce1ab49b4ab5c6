"""How a trained network is used and looked at: features, classes, pictures.

Training knows nothing of it: `core.Method` adds how the network learns.
"""

import dataclasses
from typing import Any, ClassVar

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.state import Batch, Inputs, Metrics, Outputs, TrainState


@dataclasses.dataclass(frozen=True)
class Representation:
  """A network and how it is judged: nothing here is random, nothing learns.

  `net` maps a dict of inputs, {"image": [B,H,W,C]} for most, to a dict of outputs:
  "features" [B,D], what else its encoder gives, and what its heads give.
  """

  net: nn.Module
  input: ClassVar[str] = "image"  # the entry of a batch, [B,V,...], that `net` sees

  def weights(self, state: TrainState) -> dict[str, Any]:
    """The weights that are judged, {"params", "batch_stats"}. Default: the online ones.

    Of a self-distilled student they are mostly the teacher's.
    """
    return {"params": state.params, "batch_stats": state.batch_stats}

  def see(self, x: jax.Array) -> Inputs:
    """One view [B,...] of `input` -> what `net` is given of it when it is judged."""
    return {self.input: x}

  def apply(self, state: TrainState, x: jax.Array) -> Outputs:
    """One view [B,...] of `input` -> outputs of the network as it is judged."""
    return self.net.apply(self.weights(state), self.see(x), train=False)

  def embed(self, state: TrainState, x: jax.Array) -> jax.Array:
    """One view [B,...] of `input` -> features [B,D] f32, to judge."""
    return self.apply(state, x)["features"].astype(jnp.float32)

  def layers(self, state: TrainState, x: jax.Array) -> dict[str, tuple]:
    """One view [B,...] -> what the judged network shows of its inside, block by block.

    A vision transformer gives "tokens" and "attention" (see `nets.vit.ViT`); {} where
    there is nothing to show.
    """
    _, intermediates = self.net.apply(
      self.weights(state), self.see(x), train=False, mutable=["intermediates"]
    )
    intermediates = flax.traverse_util.flatten_dict(
      intermediates.get("intermediates", {}),
      is_leaf=lambda _, value: isinstance(value, tuple),
    )
    return {path[-1]: layers for path, layers in intermediates.items()}

  def classify(self, state: TrainState, x: jax.Array) -> jax.Array | None:
    """One view [B,...] -> scores of classes [B,C] f32; None where there are none."""
    return None

  def name_classes(self, state: TrainState, prompts: jax.Array) -> TrainState:
    """Prompts i32 [C,P,T] -> the state that `classify`s by them. Default: unchanged."""
    return state

  def show(self, state: TrainState, batch: Batch, rng: jax.Array) -> Metrics:
    """Pictures that tell how it works: title -> [B,H,W,C], normalised as its views.

    `batch` has one view, nothing in it random. Default: none.
    """
    return {}
