"""Losses of metric learning: which rows of x [N,D] belong together, and which do not.

`positive` bool [N,N] is symmetric and False on its diagonal; all other pairs of
different rows are negatives. A mean over pairs or triplets that the batch does not
have is 0, with a finite gradient. Memory is O(N^2).
"""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp, relu, softplus

from ssljax.losses.contrastive import PRECISION, unit


def of_views(positive: jax.Array, views: int) -> jax.Array:
  """Lifts `positive` bool [B,B] of pictures to [BV,BV] of views, none with itself."""
  rows = jnp.repeat(jnp.repeat(positive, views, axis=0), views, axis=1)
  return rows & ~jnp.eye(rows.shape[0], dtype=bool)


def margin(x: jax.Array, positive: jax.Array, margin: float) -> jax.Array:
  """Contrastive loss of Hadsell et al. (2006), eq. 4, on the unit sphere.

  The mean of d^2 / 2 over positive pairs plus that of max(0, margin - d)^2 / 2 over
  negative ones, so that the many negatives do not outweigh. d is Euclidean, 0 to 2.
  """
  square = _square_distances(x)
  distance = jnp.sqrt(jnp.maximum(square, 1e-12))  # with a finite gradient at 0
  hinge = jnp.square(relu(margin - distance))
  return (_mean(square, positive) + _mean(hinge, _negative(positive))) / 2


def triplet(
  x: jax.Array, positive: jax.Array, margin: float, mining: str = "all"
) -> jax.Array:
  """Mean of max(0, d(a,p) - d(a,n) + margin) over triplets; d squared, 0 to 4.

  FaceNet (Schroff et al. 2015), section 3.1. `mining` says which triplets:

    all        every one with a positive p and a negative n of anchor a; those that
               already hold the margin count in the mean
    hard       one an anchor: its farthest positive, its nearest negative ("batch
               hard" of Hermans et al. 2017, who take the root of d)
    semi_hard  one a positive pair: the nearest negative farther than the positive,
               or, where none is, the farthest negative
  """
  d, negative = _square_distances(x), _negative(positive)
  return MINING[mining](d, positive, negative, margin)


def _all_triplets(d, positive, negative, margin):
  # An anchor's hinges at one positive sum to n t - (d_1 + ... + d_n), where t is
  # d(a,p) + margin and the d_i are the n negative distances below it, in order.
  nearest = jnp.sort(jnp.where(negative, d, jnp.inf), axis=1)
  sums = jnp.cumsum(jnp.where(jnp.isfinite(nearest), nearest, 0.0), axis=1)
  sums = jnp.pad(sums, ((0, 0), (1, 0)))
  below = jax.vmap(jnp.searchsorted)(nearest, d + margin)
  hinges = below.astype(jnp.float32) * (d + margin)
  hinges -= jnp.take_along_axis(sums, below, axis=1)
  triplets = positive.sum(1).astype(jnp.float32) * negative.sum(1).astype(jnp.float32)
  return hinges.sum(where=positive) / jnp.maximum(triplets.sum(), 1.0)


def _hard_triplets(d, positive, negative, margin):
  farthest = jnp.where(positive, d, -jnp.inf).max(1)
  nearest = jnp.where(negative, d, jnp.inf).min(1)
  return _mean(relu(farthest - nearest + margin), positive.any(1) & negative.any(1))


def _semi_hard_triplets(d, positive, negative, margin):
  nearest = jnp.sort(jnp.where(negative, d, jnp.inf), axis=1)
  beyond = jax.vmap(lambda row, d: jnp.searchsorted(row, d, side="right"))(nearest, d)
  last = jnp.maximum(negative.sum(1, keepdims=True) - 1, 0)
  chosen = jnp.take_along_axis(nearest, jnp.minimum(beyond, last), axis=1)
  return _mean(relu(d - chosen + margin), positive & negative.any(1, keepdims=True))


MINING = {
  "all": _all_triplets,
  "hard": _hard_triplets,
  "semi_hard": _semi_hard_triplets,
}


def n_pair(x: jax.Array, positive: jax.Array, l2: float) -> jax.Array:
  """(N+1)-tuplet loss of Sohn (2016): of inner products, x is not normalised.

  Mean over positive pairs (a,p) of log(1 + sum over negatives n of a of
  exp(x_a.x_n - x_a.x_p)), plus `l2` times the mean squared length of the rows. Sohn
  draws two rows a class and takes one of each as negatives; here all are.
  """
  x = x.astype(jnp.float32)
  length = jnp.square(x).sum(1).mean()
  return _one_of_many(_products(x), positive) + l2 * length


def info_nce(x: jax.Array, positive: jax.Array, temperature: float) -> jax.Array:
  """InfoNCE of van den Oord et al. (2018), eq. 4, with exp(cosine / temperature).

  Mean over positive pairs (a,p) of the cross-entropy of p among p and the negatives
  of a. Other positives of a stay out of the sum, unlike in SupCon. With two views and
  no labels this is `contrastive.nt_xent`.
  """
  return _one_of_many(_products(unit(x)) / temperature, positive)


def nce(x: jax.Array, positive: jax.Array, temperature: float) -> jax.Array:
  """Noise-contrastive estimation (Gutmann & Hyvarinen 2010) within a batch.

  Logistic regression tells data (positive pairs) from noise (negative pairs, nu for
  each positive one) by log p_model - log(nu p_noise) = cosine / temperature - log nu:
  the normaliser is taken as 1 (Mnih & Teh 2012). Summed over all pairs and divided by
  the number of positive ones; the paper has nu = 1.
  """
  negative = _negative(positive)
  data = jnp.maximum(positive.sum(), 1).astype(jnp.float32)
  nu = negative.sum().astype(jnp.float32) / data
  logits = _products(unit(x)) / temperature - jnp.log(nu)
  noise = _mean(softplus(logits), negative)
  return jnp.where(positive.any(), _mean(softplus(-logits), positive) + nu * noise, 0.0)


def logistic(x: jax.Array, positive: jax.Array, temperature: float) -> jax.Array:
  """NT-Logistic of SimCLR (Chen et al. 2020), table 2: pairs judged one by one.

  Mean over positive pairs of -log sigmoid(cosine / temperature), plus the mean over
  negative ones of -log sigmoid(-cosine / temperature).
  """
  logits = _products(unit(x)) / temperature
  negative_loss = _mean(softplus(logits), _negative(positive))
  return _mean(softplus(-logits), positive) + negative_loss


def _negative(positive: jax.Array) -> jax.Array:
  return ~positive & ~jnp.eye(positive.shape[0], dtype=bool)


def _products(x: jax.Array) -> jax.Array:
  return jnp.matmul(x, x.T, precision=PRECISION)


def _square_distances(x: jax.Array) -> jax.Array:
  return relu(2 - 2 * _products(unit(x)))


def _one_of_many(scores: jax.Array, positive: jax.Array) -> jax.Array:
  """Mean over positive pairs of -log(e^s / (e^s + sum of e^negative)) of the row."""
  lowest = jnp.finfo(scores.dtype).min
  negatives = logsumexp(jnp.where(_negative(positive), scores, lowest), axis=1)
  return _mean(softplus(negatives[:, None] - scores), positive)


def _mean(x: jax.Array, where: jax.Array) -> jax.Array:
  """Averages the entries that `where` says; 0 where it says none."""
  return x.sum(where=where) / jnp.maximum(where.sum(), 1).astype(jnp.float32)
