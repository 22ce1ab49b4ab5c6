"""MAE (He et al. 2022): see a quarter of a picture and paint the rest."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import core
from ssljax.core import Aux, Encoded, Method
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Range
from ssljax.losses import masked
from ssljax.nets import MaskedAutoencoder


@dataclasses.dataclass(frozen=True)
class MAE(Method):
  """MAE, section 3. The encoder sees `1 - mask_ratio` of the patches, drawn each time.

  With `norm_pix` what is predicted are pixels normalised by patch, which learns better
  features (table 1d).
  """

  net: MaskedAutoencoder
  mask_ratio: Annotated[float, Range(0, below=1)]
  norm_pix: bool
  num_views: ClassVar[int] = 1
  least_batch: ClassVar[int] = 1
  needs_heads: ClassVar[tuple[str, ...]] = ("decoder",)

  def encode(self, params, state, batch, rng):
    """Encodes the visible patches of view 0, and the "error" [B] of the hidden ones."""
    rng_mask, rng_net = jax.random.split(rng)
    image = batch["image"][:, 0]
    patches = masked.patchify(image, self.net.encoder.patch_size)
    keep, mask = self.draw(rng_mask, batch["index"], patches.shape[1])
    x = {"image": image, "keep": keep}
    keys = core.draws(rng_net, batch)
    outputs, stats = self.forward(params, state.batch_stats, x, keys)
    error = masked.masked_error(outputs["pixels"], patches, mask, self.norm_pix)
    features = outputs["features"][:, None]
    rows = {"features": features, "projection": features, "error": error}
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Averages the squared error of the hidden patches over all pictures."""
    return rows["error"].mean(), Aux()

  def draw(self, rng, index, count):
    """Draws the patches to see of examples `index` [B], i32 [B,n], and to hide, [B,N].

    Those with the least noise are seen, as in the official code.
    """
    num_visible = int(count * (1 - self.mask_ratio))
    if not 0 < num_visible < count:
      raise ConfigError(
        f"method.mask_ratio={self.mask_ratio} leaves {num_visible} of {count} patches "
        "to be seen; try 0.75, or smaller patches"
      )
    order = jnp.argsort(noise(rng, index, count), axis=1)
    return order[:, :num_visible], jnp.argsort(order, axis=1) >= num_visible

  def show(self, state, batch, rng):
    """Draws each picture, its visible patches, and its reconstruction: [B,H,W,C] each.

    As the network sees pictures, normalised; there 0 is the mean colour. With
    `norm_pix` the prediction takes the mean and deviation of the true patch.
    """
    image, size = batch["image"][:, 0], self.net.encoder.patch_size
    patches = masked.patchify(image, size)
    keep, mask = self.draw(rng, batch["index"], patches.shape[1])
    x = {"image": image, "keep": keep}
    painted = self.net.apply(self.weights(state), x, train=False)["pixels"]
    if self.norm_pix:
      mean, deviation = masked.moments(patches)
      painted = painted * deviation + mean
    hidden = mask[..., None]
    lines = {
      "picture": patches,
      "masked": jnp.where(hidden, 0.0, patches),
      "reconstruction": jnp.where(hidden, painted, patches),
    }
    return {k: masked.unpatchify(x, size, *image.shape[1:3]) for k, x in lines.items()}


def noise(rng: jax.Array, index: jax.Array, count: int) -> jax.Array:
  """Draws uniform numbers [B,count], each row from its example's index alone."""
  draw = jax.vmap(lambda key: jax.random.uniform(key, (count,)))
  return draw(core.keys(rng, index))
