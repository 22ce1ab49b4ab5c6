"""One encoder for crops of several resolutions."""

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

  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes "image" [B,V,H,W,C], "local" [B,L,h,w,C] -> "features" [B (V + L),D]."""
    x, features = dict(x), []
    keys = x.pop("keys", None)  # [B], for what the encoder draws
    for number, crops in enumerate(x.values()):
      b, v = crops.shape[:2]
      inputs = {"image": crops.reshape(b * v, *crops.shape[2:])}
      if keys is not None:
        inputs["keys"] = _split(keys, number, v).reshape(b * v)
      rows = self.encoder(inputs, train)["features"]
      features.append(rows.reshape(b, v, -1))
    merged = jnp.concatenate(features, 1)
    return {"features": merged.reshape(-1, merged.shape[-1])}


def _split(keys: jax.Array, number: int, count: int) -> jax.Array:
  """Splits keys [B] -> [B,count] of the crops of resolution `number`."""
  split_one = lambda key: jax.random.split(jax.random.fold_in(key, number), count)  # noqa: E731
  return jax.vmap(split_one)(keys)
