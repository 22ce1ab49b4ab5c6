"""Which patches of a picture a transformer sees, and their mean."""

import jax
import jax.numpy as jnp

from ssljax.fields import ConfigError
from ssljax.nets.module import HIDES, folded


def thinned(x: dict, count: int, share: float, number: int) -> dict[str, jax.Array]:
  """Adds to inputs what token dropout leaves of `count` patches, as "keep" i32 [B,n].

  It draws by "keys" [B], without which all stay, and by a `number` that nothing else
  draws by. ConfigError where the inputs hide patches already.
  """
  if any(name in x for name in HIDES):
    raise ConfigError(
      f"encoder.token_drop={share}: the method itself hides patches, and would not "
      "know which are left; set it to 0"
    )
  if "keys" not in x:
    return x
  return {**x, "keep": draw_kept(folded(x["keys"], number), count, share)}


def draw_kept(keys: jax.Array, count: int, share: float) -> jax.Array:
  """Draws the patches to see of `count`, all but a `share` -> i32 [B,n], in order.

  One at least. Those with the least noise, by the `keys` [B] of examples (FLIP, Li et
  al. 2023; PatchDropout, Liu et al. 2023).
  """
  kept = max(1, int(count * (1 - share)))
  noise = jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
  return jnp.sort(jnp.argsort(noise, axis=1)[:, :kept], axis=1)


def mean(patches: jax.Array, seen: jax.Array | None) -> jax.Array:
  """Averages patches [B,n,D], of each example the first `seen` i32 [B] -> [B,D]."""
  if seen is None:
    return patches.mean(axis=1)
  is_seen = jnp.arange(patches.shape[1])[None] < seen[:, None]
  return patches.mean(axis=1, where=is_seen[..., None])
