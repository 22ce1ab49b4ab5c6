"""Encoders of sound."""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields.ranges import Count, OneOf
from ssljax.nets.activations import relu
from ssljax.nets.module import Encoder
from ssljax.nets.norm import ChannelNorm

NORMS = ("channel", "none")


class Waveform(Encoder):
  """Strided convolutions over raw samples: CPC's encoder (van den Oord et al. 2018).

  Section 3.1: five layers with ReLU, one latent for every 160 samples (10 ms at
  16 kHz), each of 465 samples. The paper names no norm. norm="channel" normalises
  each position over its channels before the ReLU (Riviere et al. 2020 and the code
  CPC_audio, with the padding used here): unlike BatchNorm, whose statistics span time,
  it tells a latent nothing of the future that it is to predict. "none" is the paper's.
  """

  width: Count = 512
  kernels: Sequence[Count] = (10, 8, 4, 4, 4)
  strides: Sequence[Count] = (5, 4, 2, 2, 2)
  norm: Annotated[str, OneOf(NORMS)] = "channel"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"audio" [B,L] in [-1,1]} -> {"latents" [B,N,width]} f32, N = L / 160."""
    x = x["audio"][:, :, None]
    layers = zip(self.kernels, self.strides, strict=True)
    for i, (kernel, stride) in enumerate(layers, 1):
      padding = (kernel - stride + 1) // 2
      x = nn.Conv(
        self.width,
        (kernel,),
        stride,
        padding=((padding, padding),),
        kernel_init=nn.initializers.he_normal(),
        dtype=self.dtype,
        name=f"conv{i}",
      )(x)
      if self.norm == "channel":
        x = ChannelNorm(epsilon=1e-5, name=f"norm{i}")(x)
      x = relu(x)
    return {"latents": x.astype(jnp.float32)}
