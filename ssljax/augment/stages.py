"""Views that grow during a run: smaller pictures first, which cost less."""

import itertools
from collections.abc import Mapping, Sequence

from ssljax.augment import build
from ssljax.core import Views
from ssljax.fields import ConfigError


def stages(
  config: Mapping, resolution: Sequence[tuple[float, int]], total_steps: int
) -> tuple[tuple[int, Views], ...]:
  """Builds a run's stages before the last, whose views the group `augment` has.

  `resolution` lists (until which share of the run, pixels); local views stay as they
  are. -> for each the first step behind it, and its views. ConfigError unless the
  shares rise.
  """
  shares = [share for share, _ in resolution]
  if any(b <= a for a, b in itertools.pairwise(shares)):
    raise ConfigError(
      f"resolution={tuple(resolution)}: the shares of the run must rise; sort them"
    )
  return tuple(
    (round(share * total_steps), build({**config, "size": size}))
    for share, size in resolution
  )
