"""One encoder for crops of several resolutions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


class MultiCrop(nn.Module):
  """An encoder that takes its pictures by resolution (Caron et al. 2020).

  Crops of one resolution pass the encoder together. The rows that leave are those of
  all crops, an example's side by side, so that a head's BatchNorm sees all of them at
  once. Parameters and statistics are the encoder's own, under the same names.
  """

  encoder: nn.Module

  def setup(self):
    """Makes this module's parameters the encoder's."""
    nn.share_scope(self, self.encoder)

  def __call__(self, crops: Sequence[jax.Array], train: bool) -> jax.Array:
    """[B,V,H,W,C], [B,L,h,w,C], ... -> features [B (V + L + ...),D]."""
    features = []
    for x in crops:
      rows = self.encoder(x.reshape(-1, *x.shape[2:]), train)
      features.append(rows.reshape(*x.shape[:2], -1))
    merged = jnp.concatenate(features, 1)
    return merged.reshape(-1, merged.shape[-1])
