"""Contexts that see what came before, and predictions of what comes next."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Positive
from ssljax.nets.activations import relu
from ssljax.nets.module import Module


class GRU(Module):
  """Context of a sequence: c_t is a gated recurrent unit's state after z_0 to z_t."""

  width: Count
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Encodes a sequence [B,N,D] -> contexts [B,N,width] float32."""
    with jax.numpy_dtype_promotion("standard"):  # gates in `dtype`, state in float32
      return nn.RNN(nn.GRUCell(self.width, dtype=self.dtype), name="gru")(x)


class PixelCNN(Module):
  """Context of a grid, row by row from the top: residual blocks of masked convolution.

  A block is 1x1, ReLU, 1x3, 2x1 on this row and the one above, ReLU, 1x1: the
  pseudo-code of CPC's authors (Henaff et al. 2020, appendix; the paper of 2018 says
  "PixelCNN-style"). So position (r,s) sees the rows r - layers to r, its own included,
  in the columns s - layers to s + layers, and no row below r.
  """

  width: Count = 256
  layers: Count = 5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Encodes a grid [B,R,S,D] -> contexts [B,R,S,D] float32."""
    for i in range(1, self.layers + 1):
      y = self._conv(self.width, (1, 1), f"block{i}_in")(x)
      y = self._conv(self.width, (1, 3), f"block{i}_row")(relu(y))
      y = self._conv(self.width, (2, 1), f"block{i}_column")(y)
      y = self._conv(x.shape[-1], (1, 1), f"block{i}_out")(relu(y))
      x = x + y.astype(jnp.float32)
    return relu(x)

  def _conv(self, width: int, kernel: tuple[int, int], name: str) -> nn.Module:
    """A kernel of 2 rows ends on its own row, one of 3 columns is centred."""
    side = kernel[1] // 2
    padding = ((kernel[0] - 1, 0), (side, side))
    return nn.Conv(width, kernel, padding=padding, dtype=self.dtype, name=name)


class Forecast(Module):
  """The matrices W_k of CPC: a linear prediction for each of the next `horizon`.

  `scale` multiplies predictions, whose products with the latents are large at first:
  0.1 in Henaff et al. (2020), appendix.
  """

  horizon: Count
  scale: Positive = 1.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, context: jax.Array, dim: int) -> jax.Array:
    """Predicts from context [B,N,...,C] -> [B,N,...,K,dim] in `dtype`."""
    x = nn.Dense(self.horizon * dim, use_bias=False, dtype=self.dtype, name="w")(
      context
    )
    x = self.scale * x
    return x.reshape(*context.shape[:-1], self.horizon, dim)


class Contextual(nn.Module):
  """CPC's network (van den Oord et al. 2018): latents, their context, its forecast.

  The encoder sees "audio" [B,L] as a whole, each sentence of "text" [B,N,T] and each
  patch of a grid, "image" [B,R,S,h,w,C], by itself. One of `gru`, for sequences, and
  `pixelcnn`, for grids, is the context.
  """

  encoder: nn.Module
  forecast: nn.Module
  gru: nn.Module | None = None
  pixelcnn: nn.Module | None = None

  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes an input -> "latents" [B,N,...,D], "context" [B,N,...,C], "predictions".

    The last are [B,N,...,K,D], of the next K positions.
    """
    if (self.gru is None) == (self.pixelcnn is None):
      raise ConfigError(
        f"gru={self.gru} and pixelcnn={self.pixelcnn}: one of them must be the context"
      )
    if "image" in x:
      patches = x["image"]
      merged = patches.reshape(-1, *patches.shape[3:])
      latents = self.encoder({"image": merged}, train)["features"]
      latents = latents.reshape(*patches.shape[:3], -1)
    else:
      latents = self.encoder(x, train)["latents"]
    context = (self.gru or self.pixelcnn)(latents)
    predictions = self.forecast(context, latents.shape[-1])
    outputs = {"latents": latents, "context": context, "predictions": predictions}
    return {name: value.astype(jnp.float32) for name, value in outputs.items()}
