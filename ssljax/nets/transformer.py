"""The transformer's block, as encoders of pictures and texts and the decoder use it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.nets import attention, positions
from ssljax.nets.activations import ACTIVATIONS
from ssljax.nets.norm import ChannelNorm

Initializer = nn.initializers.Initializer
MLPS = ("plain", "swiglu")


class Keyless(nn.Module):
  """Maps [...,D] to queries, keys and values [...,3D] whose keys have no bias.

  The bias is stored whole, as DINOv3's is: its middle third counts as 0.
  """

  kernel_init: Initializer
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [...,D] -> [...,3D] in `dtype`."""
    dim = x.shape[-1]
    kernel = self.param("kernel", self.kernel_init, (dim, 3 * dim))
    bias = self.param("bias", nn.initializers.zeros, (3 * dim,))
    bias = jnp.where(jnp.arange(3 * dim) // dim == 1, 0, bias).astype(self.dtype)
    y = jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype))
    return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)


class Attention(nn.Module):
  """Multi-head self-attention; the softmax is float32.

  With `causal` a token sees itself and those before it. ConfigError unless the heads
  divide D. `attention` is one of `attention.IMPLEMENTATIONS`.
  """

  heads: int
  qkv_init: Initializer
  out_init: Initializer
  dtype: Any
  causal: bool = False
  attention: str = "auto"
  maps: bool = False
  qkv_bias: bool = True
  key_bias: bool = True

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    length: jax.Array | None = None,
    angles: jax.Array | None = None,
    bias: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Attends over tokens [B,N,D] -> [B,N,D]; with `maps` also [B,heads,N,N] f32.

    Those from `length` i32 [B] on are not seen. Queries and keys are rotated by
    `angles` [1 or B,N,D/heads] and scores get a `bias` [1 or B,heads,N,N], where there
    are any.
    """
    batch, tokens, dim = x.shape
    if dim % self.heads:
      raise ConfigError(f"heads={self.heads} must divide width={dim}")
    dense = partial(nn.Dense, dtype=self.dtype)
    if self.qkv_bias and not self.key_bias:
      qkv = Keyless(self.qkv_init, self.dtype, name="qkv")(x)
    else:
      qkv = dense(3 * dim, self.qkv_bias, kernel_init=self.qkv_init, name="qkv")(x)
    qkv = qkv.reshape(batch, tokens, 3, self.heads, dim // self.heads)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    if angles is not None:
      q, k = (positions.rotate(y, angles) for y in (q, k))
    maps = None
    if self.maps:
      maps = attention.probabilities(q, k, self.causal, length, bias)
    x = attention.attend(q, k, v, self.causal, self.attention, length, bias)
    x = x.reshape(batch, tokens, dim)
    return dense(dim, kernel_init=self.out_init, name="proj")(x), maps


class AttentionPool(nn.Module):
  """Reads tokens off by one learned query; an MLP follows, a residual.

  The "MAP" head of Zhai et al. 2022 (Scaling vision transformers), which SigLIP has.
  """

  heads: int
  mlp_ratio: float
  kernel_init: Initializer
  dtype: Any
  activation: str = "gelu"
  epsilon: float = 1e-6

  @nn.compact
  def __call__(
    self, x: jax.Array, length: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Pools tokens [B,N,D] -> [B,D], and what the query gave each [B,heads,1,N] f32.

    Tokens from `length` i32 [B] on are not seen.
    """
    batch, count, dim = x.shape
    dense = partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
    probe = self.param("probe", self.kernel_init, (1, 1, dim))
    tokens = jnp.concatenate([jnp.broadcast_to(probe, (batch, 1, dim)), x], axis=1)
    qkv = dense(3 * dim, name="qkv")(tokens)
    qkv = qkv.reshape(batch, 1 + count, 3, self.heads, dim // self.heads)
    q, k, v = qkv[:, :1, 0], qkv[:, 1:, 1], qkv[:, 1:, 2]
    maps = attention.probabilities(q, k, False, length)
    x = attention.attend(q, k, v, False, "xla", length).reshape(batch, dim)
    x = dense(dim, name="proj")(x)
    y = ChannelNorm(self.epsilon, dtype=self.dtype, name="norm")(x)
    y = ACTIVATIONS[self.activation](dense(int(dim * self.mlp_ratio), name="fc1")(y))
    return x + dense(dim, name="fc2")(y), maps


class Block(nn.Module):
  """Pre-norm transformer block: attention, then an MLP, each a residual.

  `out_init` starts the last map of either; without it `dense_init` does. What they add
  to, the residual stream, keeps its type; `dtype` is that of their products.

  `layer_scale` multiplies each residual by a learned number a channel that starts there
  (Touvron et al. 2021); 0: none. mlp="swiglu" is DINOv2-g's (Shazeer 2020): half of
  what `fc1` gives, through SiLU, gates the other half.
  """

  heads: int
  mlp_ratio: float
  qkv_init: Initializer
  dense_init: Initializer
  drop_path: float
  dtype: Any
  out_init: Initializer | None = None
  activation: str = "gelu"
  causal: bool = False
  attention: str = "auto"
  maps: bool = False
  epsilon: float = 1e-6  # of its norms
  layer_scale: float = 0.0
  mlp: str = "plain"
  qkv_bias: bool = True
  key_bias: bool = True

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    train: bool,
    keys: jax.Array | None = None,
    length: jax.Array | None = None,
    angles: jax.Array | None = None,
    bias: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Transforms tokens [B,N,D] -> [B,N,D]; with `maps` also [B,heads,N,N] f32.

    `keys` [B] feed drop path. Tokens from `length` i32 [B] on are seen by none;
    `angles` [1 or B,N,D/heads] rotate queries and keys, a `bias` [1 or B,heads,N,N]
    is added to scores.
    """
    dim = x.shape[-1]
    out_init = self.out_init or self.dense_init
    dense = partial(nn.Dense, dtype=self.dtype)
    norm = partial(ChannelNorm, self.epsilon, dtype=self.dtype)
    y, maps = Attention(
      self.heads,
      self.qkv_init,
      out_init,
      self.dtype,
      self.causal,
      self.attention,
      self.maps,
      self.qkv_bias,
      self.key_bias,
      name="attn",
    )(norm(name="norm1")(x), length, angles, bias)
    share = self.drop_path if train else 0.0
    y = self._scaled(y, "scale1")
    x = x + drop_path(y, share, keys, 0).astype(x.dtype)
    gated = self.mlp == "swiglu"
    hidden = (1 + gated) * int(dim * self.mlp_ratio)
    y = dense(hidden, kernel_init=self.dense_init, name="fc1")(norm(name="norm2")(x))
    if gated:
      gate, y = jnp.split(y, 2, axis=-1)
      y = jax.nn.silu(gate) * y
    else:
      y = ACTIVATIONS[self.activation](y)
    y = self._scaled(dense(dim, kernel_init=out_init, name="fc2")(y), "scale2")
    return x + drop_path(y, share, keys, 1).astype(x.dtype), maps

  def _scaled(self, y: jax.Array, name: str) -> jax.Array:
    """Multiplies a residual [B,N,D] by LayerScale's numbers, where there are any."""
    if not self.layer_scale:
      return y
    start = nn.initializers.constant(self.layer_scale)
    return y * self.param(name, start, y.shape[-1:]).astype(y.dtype)[None, None]


def drop_path(
  y: jax.Array, share: float, keys: jax.Array | None, number: int = 0
) -> jax.Array:
  """Leaves a residual [B,...] out for a `share` of examples (Huang et al. 2016).

  They are drawn by their `keys` [B], without which all stay, and by the `number` of the
  residual in its block; those that stay make up for it.
  """
  if not share or keys is None:
    return y
  keep = 1 - share
  draw = lambda key: jax.random.bernoulli(jax.random.fold_in(key, number), keep)  # noqa: E731
  mask = jax.vmap(draw)(keys).reshape(-1, *(1,) * (y.ndim - 1))
  return y * (mask.astype(y.dtype) / keep)
