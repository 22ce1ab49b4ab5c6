"""From the tokens of some patches to what others hold: their pixels, their tokens."""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Number, OneOf, Positive
from ssljax.nets import positions
from ssljax.nets.attention import IMPLEMENTATIONS
from ssljax.nets.module import Module
from ssljax.nets.norm import ChannelNorm
from ssljax.nets.transformer import Block


class Light(Module):
  """A narrow transformer behind an encoder, of tokens in fixed positions.

  The columns of these come first. The residual stream is float32 whatever `dtype` is.
  """

  width: Count = 512
  depth: Count = 8
  heads: Count = 16
  mlp_ratio: Positive = 4.0
  attention: Annotated[str, OneOf(IMPLEMENTATIONS)] = "auto"
  dtype: Any = jnp.float32

  def _positions(self, grid: tuple[int, int]) -> jax.Array:
    """Makes the positions [N,width] of a grid of rows and columns."""
    return positions.sincos(*grid, self.width, column_first=True)

  def _transformed(self, x, train: bool, start, length=None) -> jax.Array:
    """Passes tokens [B,N,width] through blocks and norm; `start` makes kernels."""
    for i in range(self.depth):
      x, _ = Block(
        self.heads,
        self.mlp_ratio,
        start,
        start,
        0.0,
        self.dtype,
        attention=self.attention,
        name=f"block{i}",
      )(x, train, None, length)
    return ChannelNorm(dtype=self.dtype, name="norm")(x)


class Decoder(Light):
  """MAE's light transformer (He et al. 2022, section 3).

  A learned token stands for every patch that was not seen; kernels are Xavier's. With
  `depth` 0 it is a linear map of what the encoder made of all of them (SimMIM).
  """

  depth: Number = 8

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
    if not self.depth:
      if keep is not None:
        raise ConfigError("method.decoder.depth=0 paints no patch that was not seen")
      return dense(pixels, name="pixels")(tokens[:, 1:])
    hidden = self.param("mask", nn.initializers.normal(0.02), (1, 1, self.width))
    x = dense(self.width, name="embed")(tokens).astype(jnp.float32)
    if keep is not None:
      shape = (len(x), grid[0] * grid[1], self.width)
      patches = jnp.broadcast_to(hidden, shape)
      patches = jax.vmap(lambda all, i, seen: all.at[i].set(seen))(
        patches, keep, x[:, 1:]
      )
      x = jnp.concatenate([x[:, :1], patches], axis=1)
    x = x + jnp.pad(self._positions(grid), ((1, 0), (0, 0)))[None]
    x = self._transformed(x, train, xavier)
    return dense(pixels, name="pixels")(x[:, 1:])


class PatchPredictor(Light):
  """I-JEPA's predictor (Assran et al. 2023): what an encoder would give elsewhere.

  A learned token asks for each patch in its position; kernels are normal.
  """

  width: Count = 384
  depth: Count = 6
  heads: Count = 12
  init_std: Positive = 0.02

  @nn.compact
  def __call__(self, patches: jax.Array, x: dict[str, jax.Array], grid, train: bool):
    """Predicts tokens [B,M,T,D] of blocks of patches from others' [B,K,D], in `dtype`.

    Of the inputs `x` "context" i32 [B,K] says where these lie, "seen" i32 [B] how many
    are to be seen, "target" i32 [B,M,T] what is asked for, "weight" [B,M,T] above 0
    what of it is not there to fill the array. Each block is predicted by itself.
    `grid` is rows and columns of all patches.
    """
    normal, table = nn.initializers.normal(self.init_std), self._positions(grid)
    dense = partial(nn.Dense, kernel_init=normal, dtype=self.dtype)
    asked = self.param("mask", normal, (1, 1, 1, self.width)) + table[x["target"]]
    seen = dense(self.width, name="embed")(patches).astype(jnp.float32)
    seen = seen + table[x["context"]]
    batch, blocks, count = x["target"].shape
    seen = jnp.broadcast_to(seen[:, None], (batch, blocks, *seen.shape[1:]))
    tokens = jnp.concatenate([asked, seen], 2).reshape(batch * blocks, -1, self.width)
    is_seen = jnp.arange(seen.shape[2])[None] < x["seen"][:, None]
    is_seen = jnp.broadcast_to(is_seen[:, None], seen.shape[:3])
    real = jnp.concatenate([x["weight"] > 0, is_seen], 2).reshape(batch * blocks, -1)
    order = jnp.argsort(~real, axis=1, stable=True)  # what only fills comes last
    tokens = jnp.take_along_axis(tokens, order[..., None], axis=1)
    tokens = self._transformed(tokens, train, normal, real.sum(1, dtype=jnp.int32))
    place = jnp.argsort(order, axis=1)[:, :count]
    tokens = jnp.take_along_axis(tokens, place[..., None], axis=1)
    tokens = tokens.reshape(batch, blocks, count, -1)
    return dense(patches.shape[-1], name="proj")(tokens)


def _grid(encoder: nn.Module, image: jax.Array, outputs: dict) -> tuple[int, int]:
  """Counts the rows and columns of a vision transformer's patches of [B,H,W,C]."""
  if "patches" not in outputs:
    raise ConfigError(
      "encoder.name must be a vision transformer, whose patches can be hidden; try "
      "vit_b"
    )
  return tuple(pixels // encoder.patch_size for pixels in image.shape[1:3])


class LatentPredictor(nn.Module):
  """A vision transformer of some of a picture's patches, and a predictor of others."""

  encoder: nn.Module
  patch_predictor: nn.Module | None

  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes "image" [B,H,W,C], of it patches "context" where asked for a "target".

    Then there is "prediction" [B,M,T,D] float32 too; inputs are those of
    `PatchPredictor`. ConfigError where the encoder has no patches.
    """
    if self.is_initializing():
      every = jnp.zeros((len(x["image"]), 1), jnp.int32)
      one = {"target": every[:, None], "weight": jnp.ones((len(every), 1, 1))}
      x = {**x, **one, "context": every, "seen": jnp.ones(len(every), jnp.int32)}
    if "target" not in x:
      return self.encoder(x, train)
    outputs = self.encoder({**x, "keep": x["context"]}, train)
    grid = _grid(self.encoder, x["image"], outputs)
    prediction = self.patch_predictor(outputs["patches"], x, grid, train)
    return {**outputs, "prediction": prediction.astype(jnp.float32)}


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
    grid = _grid(self.encoder, x["image"], outputs)
    pixels = self.encoder.patch_size**2 * x["image"].shape[-1]
    if "cls" not in outputs:
      raise ConfigError("encoder.class_token must be True: the decoder reads it")
    tokens = jnp.concatenate([outputs["cls"][:, None], outputs["patches"]], axis=1)
    pixels = self.decoder(tokens, x.get("keep"), grid, pixels, train)
    return {**outputs, "pixels": pixels.astype(jnp.float32)}
