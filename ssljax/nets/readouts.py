"""Features that probes choose from, out of a vision transformer's blocks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def readouts(blocks: Sequence[dict[str, jax.Array]]) -> dict[str, jax.Array]:
  """Makes the features that probes choose from of every block's tokens by name.

  As in DINOv2 (Oquab et al. 2023): the class token [B,D] of the last block or of the
  last four side by side, each alone or beside the mean of the last block's patches.
  Of an encoder without a class token "cls" is that mean, as in I-JEPA.
  """
  mean = blocks[-1]["patches"].mean(axis=1)
  features = {}
  for name, chosen in (("cls", blocks[-1:]), ("cls4", blocks[-4:])):
    first = [block.get("cls", block["patches"].mean(axis=1)) for block in chosen]
    x = jnp.concatenate(first, axis=1)
    features |= {name: x, f"{name}_mean": jnp.concatenate([x, mean], axis=1)}
  return features
