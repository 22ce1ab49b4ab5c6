"""Losses that predict the later part of a sequence from the earlier one."""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp

from ssljax.losses import tiled
from ssljax.losses.pairwise import PRECISION


def cpc(
  predictions: jax.Array, latents: jax.Array, negatives: jax.Array | None = None
) -> jax.Array:
  """InfoNCE of predictions [B,N,...,K,D] and latents [B,N,...,D], a step each: f32[K].

  CPC (van den Oord et al. 2018), eq. 3 and 4: f_k = exp(z . W_k c), with no norm and no
  temperature. W_k c_t is predictions[:, t, ..., k - 1, :], its positive the latent k
  later on axis 1 (a row lower in a grid); the mean is over all t that have one. The
  negatives are all other latents of the batch, past, present and future, as in the
  authors' pseudo-code (Henaff et al. 2020, appendix), or for each example the latents
  with numbers `negatives` i32 [B,M] in the batch laid flat, [B*N*...]; where one is the
  positive itself it does not count. Chance is log(B*N*...), or about log(1 + M).

  A step's scores are computed again for the gradient. ValueError unless K < N.
  """
  steps, dim = predictions.shape[-2:]
  batch, length = latents.shape[:2]
  if steps >= length:
    raise ValueError(
      f"steps={steps} must be less than the {length} latents of a sequence; try "
      f"{length - 1}, or longer sequences"
    )
  predictions = predictions.astype(jnp.float32)
  latents = latents.astype(jnp.float32)
  pool = latents.reshape(-1, dim)
  number = jnp.arange(len(pool), dtype=jnp.int32).reshape(latents.shape[:-1])
  negative_latents = None if negatives is None else pool[negatives]  # [B,M,D]

  @jax.checkpoint
  def step(prediction, positive, number, pool, negative_latents):
    """[B,P,D], [B,P,D], [B,P], [B*N*...,D], [B,M,D] -> f32[]."""
    positive_score = (prediction * positive).sum(-1)
    if negative_latents is None:
      rows = prediction.reshape(-1, dim)
      return tiled.denominators(rows, pool, 1.0).mean() - positive_score.mean()
    scores = jnp.einsum(
      "bpd,bmd->bpm", prediction, negative_latents, precision=PRECISION
    )
    itself = number[:, :, None] == negatives[:, None]
    scores = jnp.where(itself, -jnp.inf, scores)
    scores = jnp.concatenate([positive_score[:, :, None], scores], axis=2)
    return (logsumexp(scores, axis=2) - positive_score).mean()

  losses = []
  for k in range(1, steps + 1):
    prediction = predictions[:, : length - k, ..., k - 1, :].reshape(batch, -1, dim)
    positive = latents[:, k:].reshape(batch, -1, dim)
    losses.append(
      step(
        prediction, positive, number[:, k:].reshape(batch, -1), pool, negative_latents
      )
    )
  return jnp.stack(losses)
