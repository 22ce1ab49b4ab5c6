"""Networks whose fields have ranges, and what an encoder says of itself."""

from collections.abc import Collection

import jax
from flax import linen as nn

from ssljax import fields
from ssljax.fields import ConfigError

HIDES = "keep", "mask"  # inputs that leave out or hide patches


class Module(nn.Module):
  """A Flax module that raises ConfigError on a field outside its range."""

  def __post_init__(self):
    """Holds the fields to their annotations before Flax does its own."""
    fields.check_instance(type(self).__name__, self)
    super().__post_init__()


class Encoder(Module):
  """A network from inputs to outputs by name, of which "features" is one."""

  @property
  def layers(self) -> tuple[tuple[str, ...], ...]:
    """The names of the encoder's parts from the input on, those of one depth together.

    What it does not name is deeper than all; (): it does not say.
    """
    return ()


def check_whole(inputs: Collection[str]) -> None:
  """Raises ConfigError where inputs, by name, hide what an encoder would see."""
  if any(name in inputs for name in HIDES):
    raise ConfigError(
      "encoder.name must be a vision transformer, whose patches can be hidden; try "
      "vit_s"
    )


def folded(keys: jax.Array | None, number: int) -> jax.Array | None:
  """Folds a number, such as a block's, into the keys [B] of examples; None: none."""
  if keys is None:
    return None
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
