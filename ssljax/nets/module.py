"""A network whose fields have ranges."""

from flax import linen as nn

from ssljax import fields


class Module(nn.Module):
  """A Flax module that raises ConfigError on a field outside its range."""

  def __post_init__(self):
    """Holds the fields to their annotations before Flax does its own."""
    fields.check_instance(type(self).__name__, self)
    super().__post_init__()
