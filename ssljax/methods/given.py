"""An encoder that came from a file: what its run's folder says of how it learned."""

import dataclasses
from typing import ClassVar

from ssljax.core import Method


@dataclasses.dataclass(frozen=True)
class Given(Method):
  """Features of an encoder that learned elsewhere; it has no objective here."""

  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  needs_heads: ClassVar[tuple[str, ...]] = ()
