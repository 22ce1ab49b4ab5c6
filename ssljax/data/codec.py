"""How what an example holds becomes arrays of a batch."""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from ssljax.fields import ConfigError

Spec = dict[str, tuple[tuple[int, ...], str]]  # of a batch: name -> shape, dtype
Example = dict[str, Any]  # one record as it is stored, "label" i32 (-1: none) included


class UnreadableError(ConfigError):
  """A record is corrupt, truncated or of a kind that cannot be read."""


class DataGoneError(UnreadableError):
  """The data can no longer be read: the disk is gone, or all of it is unreadable."""


class Codec(abc.ABC):
  """Decodes one entry of every example, always to the same shapes."""

  @property
  @abc.abstractmethod
  def spec(self) -> Spec:
    """Describes the arrays that the codec gives, without the batch axis."""

  @abc.abstractmethod
  def decode(self, example: Example) -> dict[str, np.ndarray | float]:
    """Decodes an example to the arrays that `spec` names. Raises UnreadableError."""

  def fill(self, example: Example, batch: Mapping[str, np.ndarray], row: int) -> None:
    """Decodes an example into a row of a batch's arrays. Raises UnreadableError."""
    for name, value in self.decode(example).items():
      batch[name][row] = value
