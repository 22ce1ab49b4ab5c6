"""SimMIM (Xie et al. 2022): see all patches, some as a token, and paint those."""

import dataclasses
from typing import ClassVar

from ssljax import core
from ssljax.core import Aux, Encoded, Method
from ssljax.losses import masked
from ssljax.nets import MaskedAutoencoder


@dataclasses.dataclass(frozen=True)
class SimMIM(Method):
  """SimMIM, section 3: raw pixels of the hidden patches by a linear map, in L1.

  The decoder is that map with `depth` 0; a deeper one is table 3's.
  """

  net: MaskedAutoencoder
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  reads: ClassVar[tuple[str, ...]] = ("mask",)
  needs_heads: ClassVar[tuple[str, ...]] = ("decoder",)

  def encode(self, params, state, batch, rng):
    """Encodes view 0 without its patches in "mask", and the "error" [B] of these."""
    x = {"image": batch["image"][:, 0], "mask": batch["mask"][:, 0]}
    keys = core.draws(rng, batch)
    outputs, stats = self.forward(params, state.batch_stats, x, keys)
    patches = masked.patchify(x["image"], self.net.encoder.patch_size)
    features = outputs["features"][:, None]
    error = masked.absolute_error(outputs["pixels"], patches, x["mask"])
    rows = {"features": features, "projection": features, "error": error}
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Averages the absolute error of the hidden patches over all pictures."""
    return rows["error"].mean(), Aux()
