"""Losses over all pairs of a batch of two kinds: pictures and their texts.

They see the cosines of every picture with every text, which `cosines` makes of what
comes from a network: one product, and one all-gather over devices, for all of them.
"""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp

from ssljax.losses.contrastive import PRECISION, unit


def cosines(image: jax.Array, text: jax.Array) -> jax.Array:
  """Computes cosines [B,N] f32 of pictures [B,D] and texts [N,D] of any length."""
  return jnp.matmul(unit(image), unit(text).T, precision=PRECISION)


def clip(similar: jax.Array, scale: jax.Array) -> jax.Array:
  """CLIP (Radford et al. 2021), figure 3, of cosines [B,B] and a scale f32[].

  The mean of two cross-entropies: of each picture's own text among the batch's, and
  of each text's own picture. `scale` multiplies the cosines; the network learns its
  logarithm. The official value.
  """
  logits = scale * similar
  among_texts = logsumexp(logits, axis=1).mean()
  among_images = logsumexp(logits, axis=0).mean()
  return (among_texts + among_images) / 2 - _own(logits).mean()


def siglip(similar: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """SigLIP (Zhai et al. 2023), eq. 1, of cosines [B,B], a scale and a bias f32[].

  Every one of the B x B pairs is a yes or no by itself; summed over pairs and divided
  by B. The official value.
  """
  signs = 2 * jnp.eye(len(similar)) - 1
  return -jax.nn.log_sigmoid(signs * (scale * similar + bias)).sum(1).mean()


def matched(similar: jax.Array) -> jax.Array:
  """Measures the share of pictures nearest to their own text, by cosines [B,B].

  Pictures whose captions say the same share their texts. No gradient.
  """
  similar = jax.lax.stop_gradient(similar)
  return (_own(similar) >= similar.max(1)).astype(jnp.float32).mean()


def _own(pairs: jax.Array) -> jax.Array:
  """Returns the diagonal of [B,B], without moving a row off its device."""
  return jnp.where(jnp.eye(len(pairs), dtype=bool), pairs, 0.0).sum(1)
