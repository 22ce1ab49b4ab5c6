"""Encoders of text: token ids, 0 is padding."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class Sentence(nn.Module):
  """Embedding, one convolution, ReLU, mean over tokens (van den Oord et al. 2018).

  CPC's sentence encoder, section 3.3. The paper gives neither the embedding's width
  (620 is that of skip-thought vectors, which it follows) nor the kernel's. Padding is
  zero to the convolution and absent from the mean: more of it changes nothing, and a
  sentence of nothing else is the zero vector.
  """

  vocabulary: int  # ids, 0 included
  width: int = 2400
  embedding: int = 620
  kernel_size: int = 3  # tokens
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, text: jax.Array, train: bool) -> jax.Array:
    """Ids [...,T] i32 -> [...,width] float32."""
    real = (text > 0)[..., None]
    x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(text)
    x = jnp.where(real, x, 0)
    x = nn.Conv(self.width, (self.kernel_size,), dtype=self.dtype, name="conv")(x)
    x = nn.relu(x).astype(jnp.float32)
    total = jnp.where(real, x, 0).sum(-2)
    return total / jnp.maximum(real.sum(-2), 1).astype(jnp.float32)
