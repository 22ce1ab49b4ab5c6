"""Losses over all pairs of a batch of two kinds: pictures and their texts.

Pictures [B,D] and texts [B,D] are of any length; row i of one belongs to row i of the
other. With the loss comes the share of pictures whose own text is the nearest, f32[]
without gradient; pictures whose captions say the same share their texts.
"""

import jax
import jax.numpy as jnp

from ssljax.losses import pairwise, tiled
from ssljax.losses.contrastive import unit
from ssljax.losses.pairwise import PRECISION


def cosines(image: jax.Array, text: jax.Array) -> jax.Array:
  """Computes cosines [B,N] f32 of pictures [B,D] and texts [N,D] of any length."""
  return jnp.matmul(unit(image), unit(text).T, precision=PRECISION)


def clip(
  image: jax.Array, text: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """CLIP (Radford et al. 2021), figure 3, by a scale f32[] -> loss, share matched.

  The mean of two cross-entropies: of each picture's own text among the batch's, and
  of each text's own picture. `scale` multiplies the cosines; the network learns its
  logarithm. The official value.
  """
  image, text, pair = unit(image), unit(text), pairwise.numbers(len(image))
  of_images, of_texts = tiled.compare_both_ways(image, text, scale, pair)
  denominators = of_images.denominator.mean() + of_texts.mean()
  matched = of_images.positive >= of_images.most
  return denominators / 2 - of_images.positive.mean(), matched.mean()


def siglip(
  image: jax.Array, text: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """SigLIP (Zhai et al. 2023), eq. 1, by a scale, a bias f32[] -> loss, share matched.

  Every one of the B x B pairs is a yes or no by itself; summed over pairs and divided
  by B. The official value.
  """
  image, text, pair = unit(image), unit(text), pairwise.numbers(len(image))
  cost, own, most = tiled.answers(image, text, scale, bias, pair)
  return cost.mean(), (own >= most).mean()
