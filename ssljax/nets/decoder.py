"""From the tokens of some patches to the pixels of all of them."""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, OneOf, Positive
from ssljax.nets import positions
from ssljax.nets.attention import IMPLEMENTATIONS
from ssljax.nets.module import Module
from ssljax.nets.norm import ChannelNorm
from ssljax.nets.transformer import Block


class Decoder(Module):
  """MAE's light transformer (He et al. 2022, section 3).

  A learned token stands for every patch that was not seen; positions are fixed, their
  columns first, and kernels Xavier's. The residual stream is float32 whatever `dtype`
  is.
  """

  width: Count = 512
  depth: Count = 8
  heads: Count = 16
  mlp_ratio: Positive = 4.0
  attention: Annotated[str, OneOf(IMPLEMENTATIONS)] = "auto"
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
    """Paints patches [B,N,pixels] from tokens [B,1+n,D] of patches `keep` i32 [B,n].

    The class token comes first.

    `grid` is rows and columns of the N patches; without `keep` all were seen.
    """
    xavier = nn.initializers.xavier_uniform()
    dense = partial(nn.Dense, kernel_init=xavier, dtype=self.dtype)
    hidden = self.param("mask", nn.initializers.normal(0.02), (1, 1, self.width))
    x = dense(self.width, name="embed")(tokens).astype(jnp.float32)
    if keep is not None:
      shape = (len(x), grid[0] * grid[1], self.width)
      patches = jnp.broadcast_to(hidden, shape)
      patches = jax.vmap(lambda all, i, seen: all.at[i].set(seen))(
        patches, keep, x[:, 1:]
      )
      x = jnp.concatenate([x[:, :1], patches], axis=1)
    table = positions.sincos(*grid, self.width, column_first=True)
    x = x + jnp.pad(table, ((1, 0), (0, 0)))[None]
    for i in range(self.depth):
      x, _ = Block(
        self.heads,
        self.mlp_ratio,
        xavier,
        xavier,
        0.0,
        self.dtype,
        attention=self.attention,
        name=f"block{i}",
      )(x, train)
    norm = ChannelNorm(dtype=self.dtype, name="norm")
    return dense(pixels, name="pixels")(norm(x)[:, 1:])


class MaskedAutoencoder(nn.Module):
  """A vision transformer of some of a picture's patches and a decoder of all."""

  encoder: nn.Module
  decoder: nn.Module

  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes "image" [B,H,W,C], of it patches "keep" i32 [B,n] -> also "pixels".

    Those are [B,N,P] float32 with P = size * size * C. ConfigError where the encoder
    has no patches that could be hidden.
    """
    outputs = self.encoder(x, train)
    if "patches" not in outputs:
      raise ConfigError(
        "encoder.name must be a vision transformer, whose patches can be hidden; try "
        "vit_b"
      )
    size, (_, height, width, channels) = self.encoder.patch_size, x["image"].shape
    tokens = jnp.concatenate([outputs["cls"][:, None], outputs["patches"]], axis=1)
    pixels = self.decoder(
      tokens,
      x.get("keep"),
      (height // size, width // size),
      size * size * channels,
      train,
    )
    return {**outputs, "pixels": pixels.astype(jnp.float32)}
