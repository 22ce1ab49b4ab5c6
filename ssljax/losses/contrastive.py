"""Losses that tell a positive from negatives: batch, queue or bank."""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp

from ssljax.losses import pairwise, tiled
from ssljax.losses.pairwise import PRECISION


def unit(x: jax.Array) -> jax.Array:
  """Scales rows [..., D] of any float to length 1, f32; zero stays zero."""
  x = x.astype(jnp.float32)
  square = jnp.square(x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def nt_xent(z: jax.Array, temperature: float) -> jax.Array:
  """NT-Xent, z [B,V,D] with V >= 2: the mean over all B V anchors.

  SimCLR (Chen et al. 2020), eq. 1 and algorithm 1; for V > 2 also the mean over an
  anchor's V - 1 positives, as in SupCon's L_out (Khosla et al. 2020, eq. 2). The
  official TensorFlow code sums the means of the two views: twice this value. LARS
  undoes such a factor for the weights it adapts, other optimizers do not.

  Views stay on axis 1: the merged rows then need one all-gather over devices.
  """
  batch, views, dim = z.shape
  z = unit(z)
  rows, itself = z.reshape(batch * views, dim), pairwise.numbers(batch * views)
  denominator = tiled.compare_among(rows, 1 / temperature, itself).denominator
  others = z.sum(1, keepdims=True) - z
  positive = (z * others).sum(-1) / ((views - 1) * temperature)
  return denominator.mean() - positive.mean()


def invariant_spread(z: jax.Array, temperature: float) -> jax.Array:
  """InvaSpread (Ye et al. 2019), z [B,2,D]: mean over all 2B anchors.

  An anchor is classified among the batch's 2B - 1 other embeddings: minus the log
  probability of its other view, minus the sum of log(1 - P) over other pictures. (In
  the paper it is among one view of each picture, its own included.) What an anchor is
  compared with is constant, as in the official code: the gradient is not the value's.
  The official value and gradient.
  """
  batch, views, dim = z.shape
  z = unit(z)
  rows = jax.lax.stop_gradient(z.reshape(batch * views, dim))
  logits = jnp.einsum("bvd,nd->bvn", z, rows, precision=PRECISION) / temperature
  itself = jnp.eye(batch * views, dtype=bool).reshape(logits.shape)
  same_picture = jnp.eye(batch, dtype=bool).repeat(views, axis=1)[:, None]
  log_p = jax.nn.log_softmax(jnp.where(itself, -jnp.inf, logits))
  positive = jnp.where(same_picture & ~itself, log_p, 0.0).sum(2)
  spread = jnp.log1p(-jnp.where(same_picture, 0.0, jnp.exp(log_p))).sum(2)
  return -(positive + spread).mean()


def dcl(z: jax.Array, temperature: float, sigma: float = 0.0) -> jax.Array:
  """Decoupled NT-Xent, z [B,2,D]: the positive is left out of the denominator.

  DCL (Yeh et al. 2022), eq. 6, as the mean over anchors. With `sigma` > 0 it is DCLW:
  positives weigh 2 - w / mean(w), w = exp(cosine / sigma), without gradient.
  """
  batch, views, dim = z.shape
  z = unit(z)
  rows, itself = z.reshape(batch * views, dim), pairwise.numbers(batch * views)
  picture = tuple(number // views for number in itself)
  denominator = tiled.compare_among(rows, 1 / temperature, picture).denominator
  positive = (z[:, 0] * z[:, 1]).sum(1)
  if sigma:
    share = jax.nn.softmax(jax.lax.stop_gradient(positive) / sigma)
    positive = (2 - batch * share) * positive
  return denominator.mean() - positive.mean() / temperature


def nt_xent_queue(
  query: jax.Array, key: jax.Array, queue: jax.Array, temperature: float
) -> jax.Array:
  """NT-Xent of query [B,V,D] against key [B,V,D] and unit rows queue [K,D].

  SimCLR v2's memory (Chen et al. 2020b, section 2). A view's positives are the keys
  of its picture's other views; its negatives are the keys of other pictures and the
  queue. Its own key takes no part, so that with query = key and an empty queue this
  is `nt_xent`.
  """
  batch, views, dim = query.shape
  query, key = unit(query), unit(key)
  rows, keys = query.reshape(batch * views, dim), key.reshape(batch * views, dim)
  itself = pairwise.numbers(batch * views)
  now = tiled.denominators(rows, keys, 1 / temperature, ids=itself)
  past = tiled.denominators(rows, queue, 1 / temperature)
  others = key.sum(1, keepdims=True) - key
  positive = (query * others).sum(-1) / ((views - 1) * temperature)
  return jnp.logaddexp(now, past).mean() - positive.mean()


def info_nce(
  query: jax.Array, key: jax.Array, queue: jax.Array, temperature: float
) -> jax.Array:
  """InfoNCE of query [B,D] against its key [B,D] and unit rows queue [K,D].

  MoCo (He et al. 2020), eq. 1, averaged over the batch; the official value.
  """
  query, key = unit(query), unit(key)
  positive = (query * key).sum(1) / temperature
  negative = tiled.denominators(query, queue, 1 / temperature)
  return (jnp.logaddexp(positive, negative) - positive).mean()


def dense_info_nce(
  query: jax.Array,
  key: jax.Array,
  matches: jax.Array,
  queue: jax.Array,
  temperature: float,
) -> jax.Array:
  """Each picture's mean InfoNCE of its cells, query [B,N,D] with key [B,M,D] -> [B].

  DenseCL (Wang et al. 2021), eq. 2: the positive of cell n is the key's cell
  `matches` i32 [B,N], negatives are unit rows queue [K,D]. The mean over pictures is
  the official value.
  """
  query, key = unit(query), unit(key)
  key = jnp.take_along_axis(key, matches[..., None], axis=1)
  positive = (query * key).sum(-1) / temperature
  rows = query.reshape(-1, query.shape[-1])
  negative = tiled.denominators(rows, queue, 1 / temperature).reshape(positive.shape)
  return (jnp.logaddexp(positive, negative) - positive).mean(1)


def most_alike(query: jax.Array, key: jax.Array) -> jax.Array:
  """Finds of query's cells [B,N,D] the key's [B,M,D] of most alike direction, [B,N].

  DenseCL (Wang et al. 2021), eq. 3, by the backbone's features; no gradient.
  """
  query, key = jax.lax.stop_gradient((unit(query), unit(key)))
  return jnp.einsum("bnd,bmd->bnm", query, key, precision=PRECISION).argmax(-1)


def info_nce_in_batch(
  query: jax.Array, key: jax.Array, temperature: float
) -> jax.Array:
  """InfoNCE of query [B,D] against key [B,D]; the other pictures' keys are negatives.

  MoCo v3 (Chen et al. 2021), eq. 1, averaged over the batch; algorithm 1 and the
  official code take it times 2 tau.
  """
  query, key = unit(query), unit(key)
  denominator = tiled.denominators(query, key, 1 / temperature)
  positive = (query * key).sum(1) / temperature
  return (denominator - positive).mean()


def instance_softmax(
  embedding: jax.Array,
  bank: jax.Array,
  index: jax.Array,
  temperature: float,
  num_examples: int,
) -> jax.Array:
  """Cross-entropy of embedding [B,D] with row `index` [B] of unit rows bank [N,D].

  The non-parametric softmax of InstDisc (Wu et al. 2018), eq. 2, averaged over the
  batch; the official value. Rows of the bank from `num_examples` on are padding.
  """
  embedding = unit(embedding)
  padding = jnp.where(jnp.arange(len(bank)) < num_examples, 0.0, -jnp.inf)
  among_all = tiled.compare(embedding, bank, 1 / temperature, bias=padding, dealt=True)
  positive = (embedding * bank[index]).sum(1) / temperature
  return (among_all.denominator - positive).mean()


def sampled_softmax(
  embedding: jax.Array, rows: jax.Array, temperature: float
) -> jax.Array:
  """Cross-entropy of embedding [B,D] over unit rows [B,1+K,D], the positive first.

  CMC (Tian et al. 2019), section 3.2, negatives sampled; the official value.
  """
  logits = _scores(embedding, rows, temperature)
  return (logsumexp(logits, axis=1) - logits[:, 0]).mean()


def nce(
  embedding: jax.Array,
  rows: jax.Array,
  temperature: float,
  num_examples: int,
  z: jax.Array,
) -> jax.Array:
  """Noise-contrastive estimate of `instance_softmax` from 1 + K rows of the bank.

  InstDisc (Wu et al. 2018), eq. 4 to 7: embedding [B,D] against unit rows [B,1+K,D],
  the positive first, the noise uniform over `num_examples`; `z` f32[] stands for the
  softmax's denominator. Summed over rows and averaged over the batch, with the 1e-7
  of the official code in the denominators; the official value.
  """
  log_p = _scores(embedding, rows, temperature) - jnp.log(z)
  noise = (rows.shape[1] - 1) / num_examples  # K draws from a uniform 1/N
  log_total = jnp.log(jnp.exp(log_p) + (noise + 1e-7))
  positive = log_p[:, 0] - log_total[:, 0]
  negative = jnp.log(noise) - log_total[:, 1:]
  return -(positive.mean() + negative.sum(1).mean())


def nce_constant(
  embedding: jax.Array, rows: jax.Array, temperature: float, num_examples: int
) -> jax.Array:
  """Estimates eq. 2's denominator for `nce`, f32[]: N times the mean exponential.

  Official: over all rows [B,1+K,D] of the first batch, the positives included.
  """
  return num_examples * jnp.exp(_scores(embedding, rows, temperature)).mean()


def proximal(embedding: jax.Array, previous: jax.Array) -> jax.Array:
  """Mean squared distance of embedding [B,D] to its unit row `previous` [B,D].

  InstDisc's proximal regularisation (section 3.3), without its factor lambda.
  """
  return jnp.square(unit(embedding) - previous).sum(1).mean()


def _scores(embedding: jax.Array, rows: jax.Array, temperature: float) -> jax.Array:
  products = jnp.einsum("bd,bkd->bk", unit(embedding), rows, precision=PRECISION)
  return products / temperature
