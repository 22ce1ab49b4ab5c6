"""From the tokens of some patches to the pixels of all of them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.nets import positions
from ssljax.nets.module import Module
from ssljax.nets.vit import Block, layer_norm
from ssljax.ranges import Count, Positive


class Decoder(Module):
  """MAE's light transformer (He et al. 2022, section 3).

  A learned token stands for every patch that was not seen; positions are fixed, their
  columns first, and kernels Xavier's.
  """

  width: Count = 512
  depth: Count = 8
  heads: Count = 16
  mlp_ratio: Positive = 4.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    tokens: jax.Array,
    keep: jax.Array | None,
    grid: tuple[int, int],
    pixels: int,
    train: bool,
  ) -> jax.Array:
    """Tokens [B,1+n,D], class token first, of patches `keep` i32 [B,n] -> [B,N,pixels].

    `grid` is rows and columns of the N patches; without `keep` all were seen.
    """
    xavier = nn.initializers.xavier_uniform()
    dense = partial(nn.Dense, kernel_init=xavier, dtype=self.dtype)
    hidden = self.param("mask", nn.initializers.normal(0.02), (1, 1, self.width))
    x = dense(self.width, name="embed")(tokens)
    if keep is not None:
      shape = (len(x), grid[0] * grid[1], self.width)
      patches = jnp.broadcast_to(hidden.astype(x.dtype), shape)
      patches = jax.vmap(lambda all, i, seen: all.at[i].set(seen))(
        patches, keep, x[:, 1:]
      )
      x = jnp.concatenate([x[:, :1], patches], axis=1)
    table = positions.sincos(*grid, self.width, column_first=True)
    x = x + jnp.pad(table, ((1, 0), (0, 0)))[None].astype(x.dtype)
    for i in range(self.depth):
      x, _ = Block(
        self.heads, self.mlp_ratio, xavier, xavier, 0.0, self.dtype, name=f"block{i}"
      )(x, train)
    return dense(pixels, name="pixels")(layer_norm(x, "norm")[:, 1:])


class MaskedAutoencoder(nn.Module):
  """A vision transformer of some of a picture's patches and a decoder of all."""

  encoder: nn.Module
  decoder: nn.Module

  def __call__(
    self, x: jax.Array | tuple[jax.Array, jax.Array], train: bool
  ) -> dict[str, jax.Array]:
    """Pictures [B,H,W,C], or those and the patches to be seen, i32 [B,n].

    -> "features" [B,D], "pixels" [B,N,P] with P = size * size * C, float32.
    """
    image, keep = x if isinstance(x, tuple) else (x, None)
    if not hasattr(self.encoder, "tokens"):
      raise ValueError(
        "encoder.name must be a vision transformer, whose patches can be hidden; try "
        "vit_b"
      )
    size = self.encoder.patch_size
    grid = image.shape[1] // size, image.shape[2] // size
    tokens = self.encoder.tokens(image, train, keep)
    pixels = self.decoder(tokens, keep, grid, size * size * image.shape[3], train)
    features = self.encoder.pooled(tokens)
    return {"features": features, "pixels": pixels.astype(jnp.float32)}
