"""Networks whose fields have ranges, and what an encoder says of itself."""

from flax import linen as nn

from ssljax import fields


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
