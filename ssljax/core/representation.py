"""How a trained network is used and looked at: features, classes, pictures.

Training knows nothing of it: `core.Method` adds how the network learns.
"""

import dataclasses
import math
from typing import Any, ClassVar

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.core.state import Batch, Inputs, Metrics, Outputs, TrainState
from ssljax.fields import ConfigError


@dataclasses.dataclass(frozen=True)
class Representation:
  """A network and how it is judged: nothing here is random, nothing learns.

  `net` maps a dict of inputs, {"image": [B,H,W,C]} for most, to a dict of outputs:
  "features" [B,D], what else its encoder gives, and what its heads give.
  """

  net: nn.Module
  input: ClassVar[str] = "image"  # the entry of a batch, [B,V,...], that `net` sees

  def weights(self, state: TrainState) -> dict[str, Any]:
    """Returns {"params", "batch_stats"} to judge by. Default: the online network's.

    Of a self-distilled student they are mostly the teacher's.
    """
    return {"params": state.params, "batch_stats": state.batch_stats}

  def see(self, x: jax.Array) -> Inputs:
    """Makes the inputs of `net` from one view [B,...] of the entry `input`."""
    return {self.input: x}

  def apply(self, state: TrainState, x: jax.Array) -> Outputs:
    """Runs the judged network on one view [B,...] of `input` -> its outputs by name."""
    return self.net.apply(self.weights(state), self.see(x), train=False)

  def embed(self, state: TrainState, x: jax.Array) -> jax.Array:
    """Computes the features [B,D] f32 by which a view [B,...] of `input` is judged."""
    return self.apply(state, x)["features"].astype(jnp.float32)

  def layers(self, state: TrainState, x: jax.Array) -> dict[str, tuple]:
    """Returns the judged network's inner arrays for a view [B,...], block by block.

    A vision transformer gives "tokens" and "attention" (see `nets.vit.ViT`), a residual
    network "map"; {} where there is nothing to show.
    """
    inner = self._inner(state, x)
    return {path[-1]: layers for path, layers in inner.items()}

  def patches(self, state: TrainState, x: jax.Array, block: str = "") -> jax.Array:
    """Computes the features [B,h,w,D] f32 of the patches of a view [B,...].

    Those after the encoder's `block`, one of its `layers`, or the last of a stage that
    is named ("layer3"); "": after all. Several networks' stand side by side.
    ConfigError where the encoder has no such block, or gives one row for a picture.
    """
    number, grids = self._number(block), []
    for path, layers in sorted(self._inner(state, x).items()):
      if path[-1] == "tokens":
        tokens = layers[number]["patches"]
        side = math.isqrt(tokens.shape[1])
        grids.append(tokens.reshape(len(tokens), side, side, -1))
      elif path[-1] == "map":
        grids.append(layers[number])
    if not grids or len(grids[0]) != len(x):
      raise ConfigError(
        f"the encoder of this {type(self).__name__} gives no features of patches; ask "
        "a residual network or a vision transformer that sees pictures as a whole"
      )
    return jnp.concatenate(grids, axis=-1).astype(jnp.float32)

  def _number(self, block: str) -> int:
    """Finds the place of a block, or of a stage's last, among an encoder's blocks."""
    if not block:
      return -1
    names = [name for names in self.net.encoder.layers[1:] for name in names]
    fitting = [
      i for i, name in enumerate(names) if name == block or name.startswith(f"{block}_")
    ]
    if not fitting:
      raise ConfigError(
        f"block={block!r} is none of the encoder's; it has {', '.join(names) or 'none'}"
      )
    return fitting[-1]

  def _inner(self, state: TrainState, x: jax.Array) -> dict[tuple[str, ...], tuple]:
    """Runs the judged network -> its inner arrays by their path, block by block."""
    _, intermediates = self.net.apply(
      self.weights(state), self.see(x), train=False, mutable=["intermediates"]
    )
    return flax.traverse_util.flatten_dict(
      intermediates.get("intermediates", {}),
      is_leaf=lambda _, value: isinstance(value, tuple),
    )

  def classify(self, state: TrainState, x: jax.Array) -> jax.Array | None:
    """Scores the classes of one view [B,...] -> [B,C] f32; None: it has no classes."""
    return None

  def name_classes(self, state: TrainState, prompts: jax.Array) -> TrainState:
    """Returns the state that `classify`s by prompts i32 [C,P,T]. Default: unchanged."""
    return state

  def show(self, state: TrainState, batch: Batch, rng: jax.Array) -> Metrics:
    """Draws how the method works: title -> pictures [B,H,W,C], normalised as its views.

    `batch` has one view, nothing in it random. Default: none.
    """
    return {}
