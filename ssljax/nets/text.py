"""Encoders of text: token ids, 0 is padding."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, OneOf, Positive, Range
from ssljax.nets.activations import ACTIVATIONS, relu
from ssljax.nets.attention import IMPLEMENTATIONS
from ssljax.nets.module import Encoder, Module
from ssljax.nets.norm import ChannelNorm
from ssljax.nets.transformer import Block

READS = ("end", "last")


class Sentence(Encoder):
  """Embedding, one convolution, ReLU, mean over tokens (van den Oord et al. 2018).

  CPC's sentence encoder, section 3.3. The paper gives neither the embedding's width
  (620 is that of skip-thought vectors, which it follows) nor the kernel's. Padding is
  zero to the convolution and absent from the mean: more of it changes nothing, and a
  sentence of nothing else is the zero vector.
  """

  vocabulary: Annotated[int, Range(2)]  # ids, 0 included
  width: Count = 2400
  embedding: Count = 620
  kernel_size: Count = 3  # tokens
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"text" ids i32 [B,N,T]}, N sentences -> {"latents" [B,N,width]} f32."""
    text = x["text"]
    real = (text > 0)[..., None]
    x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(text)
    x = jnp.where(real, x, 0)
    x = nn.Conv(self.width, (self.kernel_size,), dtype=self.dtype, name="conv")(x)
    x = relu(x).astype(jnp.float32)
    total = jnp.where(real, x, 0).sum(-2)
    mean = total / jnp.maximum(real.sum(-2), 1).astype(jnp.float32)
    return {"latents": mean}


class TextTransformer(Module):
  """CLIP's text encoder (Radford et al. 2021): causal, read off at the end of a text.

  That is the last id that is not 0, where the tokenizer puts the end; what stands
  behind it changes nothing. SigLIP (Zhai et al. 2023) is not causal, and read="last"
  at its last id, padding or not; its map to `out` has a bias. The activation is that
  of the official code, x sigmoid(1.702 x), and so are the normal starts; biases start
  at 0. Positions are learned for the length of text that it is initialised with. The
  residual stream is float32 whatever `dtype` is.
  """

  vocabulary: Annotated[int, Range(2)]  # ids, 0 included
  out: Count
  width: Count = 512
  depth: Count = 12
  heads: Count = 8
  # What released weights differ in (docs/weights.md).
  activation: Annotated[str, OneOf(ACTIVATIONS)] = "quick_gelu"  # open_clip's: gelu
  epsilon: Positive = 1e-6  # of norms; CLIP's and open_clip's 1e-5
  causal: bool = True  # SigLIP: False
  read: Annotated[str, OneOf(READS)] = "end"  # SigLIP: last
  out_bias: bool = False  # SigLIP: True
  mlp_ratio: Positive = 4.0
  attention: Annotated[str, OneOf(IMPLEMENTATIONS)] = "auto"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, text: jax.Array, train: bool) -> jax.Array:
    """Encodes ids [B,T] i32 -> [B,out] in `dtype`."""
    normal = nn.initializers.normal
    embed = nn.Embed(
      self.vocabulary, self.width, embedding_init=normal(0.02), name="embed"
    )
    shape = (1, text.shape[1], self.width)
    position = self.param("position", normal(0.01), shape)
    x = embed(text) + position
    scale = self.width**-0.5
    for i in range(self.depth):
      x, _ = Block(
        self.heads,
        mlp_ratio=self.mlp_ratio,
        qkv_init=normal(scale),
        dense_init=normal(scale * 0.5**0.5),
        drop_path=0.0,
        dtype=self.dtype,
        out_init=normal(scale * (2 * self.depth) ** -0.5),
        activation=self.activation,
        causal=self.causal,
        attention=self.attention,
        epsilon=self.epsilon,
        name=f"block{i}",
      )(x, train)
    if self.read == "last":
      x = x[:, -1]
    else:
      ids = jnp.arange(text.shape[1])[None]
      end = jnp.where(text > 0, ids, 0).max(1)
      x = jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0]
    project = nn.Dense(
      self.out, self.out_bias, kernel_init=normal(scale), dtype=self.dtype, name="proj"
    )
    return project(ChannelNorm(self.epsilon, dtype=self.dtype, name="norm")(x))


class TwoTowers(nn.Module):
  """Pictures and texts in one space; what is absent from the input leaves no key.

  "features" [B,D] come from the encoder of pictures, "projection" [B,out] from the
  projector on them, or are they where there is none; "text" [B,out] come from the
  encoder of texts.
  """

  encoder: nn.Module
  text: nn.Module
  projector: nn.Module | None = None

  def __call__(self, x: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
    """Encodes {"image" [B,H,W,C], "text" i32 [B,T]} -> outputs by name, f32."""
    outputs = {}
    if "image" in x:
      outputs |= self.encoder(x, train)
      features = outputs["features"]
      project = self.projector
      outputs["projection"] = project(features, train) if project else features
    if "text" in x:
      outputs["text"] = self.text(x["text"], train)
    sizes = {k: outputs[k].shape[-1] for k in ("projection", "text") if k in outputs}
    if len({*sizes.values()}) > 1:
      raise ConfigError(
        f"pictures have {sizes['projection']} numbers (method.projector.out) and texts "
        f"{sizes['text']} (method.text.out); they must have as many"
      )
    return {name: value.astype(jnp.float32) for name, value in outputs.items()}
