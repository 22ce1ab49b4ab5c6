"""Attention that keeps no array of all pairs for its gradient.

Kept are q, k, v, the output and the logarithm of each query's denominator; scores and
probabilities are computed once more (Dao et al. 2022). Left to autodiff the gradient of
scores is a float32 product of float32 factors, whatever q and k are.
"""

from functools import partial

import jax
import jax.numpy as jnp

IMPLEMENTATIONS = ("auto", "xla")
MOST_HEAD = 128  # numbers of a head that cuDNN takes; on Hopper it is twice that
LEAST_TOKENS = 64  # a tile of cuDNN's, between 50, where XLA is faster, and 197


def attend(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  causal: bool = False,
  implementation: str = "auto",
  length: jax.Array | None = None,
  bias: jax.Array | None = None,
) -> jax.Array:
  """Attends with queries [B,N,h,d] to keys and values [B,M,h,d] -> [B,N,h,d].

  The softmax is float32; products take factors as they come. With `causal` a token sees
  itself and those before it. Of an example's keys the first `length` i32 [B] are seen,
  1 at least; without, all. A `bias` f32 [1 or B,h,N,M] joins the scaled scores. "auto"
  is cuDNN's where it can be taken and is faster (asked when this is traced; not with a
  bias), "xla" this file's everywhere.
  """
  if implementation == "auto" and bias is None and suits_cudnn(q):
    return _cudnn(q, k, v, causal, length)
  return _attend(q, k, v, length, bias, causal)


def suits_cudnn(q: jax.Array) -> bool:
  """Whether cuDNN can attend by queries [B,N,h,d] on the first device, and sooner.

  Measured on an H200 (docs/speed.md): gradients of 197 tokens take 0.41 of XLA's time,
  of 50 1.08, of 37 with one of padding 1.28.
  """
  tokens, size = q.shape[1], q.shape[-1]
  fits = q.dtype == jnp.bfloat16 and size % 8 == 0 and size <= MOST_HEAD
  return fits and tokens >= LEAST_TOKENS and compute_capability() >= 8.0


def _cudnn(q, k, v, causal: bool, length: jax.Array | None = None) -> jax.Array:
  """Attends by cuDNN's kernels, of an odd number of tokens with one of padding.

  JAX (0.10.2) takes every call for one with a bias, and refuses odd lengths a gradient.
  """
  (batch, count), lengths = q.shape[:2], {}
  if count % 2:
    q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
  if length is not None or (count % 2 and not causal):  # causal: nobody sees the last
    real = jnp.full((batch,), count, jnp.int32)
    seen = real if length is None else length
    lengths = {"query_seq_lengths": real, "key_value_seq_lengths": seen}
  y = jax.nn.dot_product_attention(
    q, k, v, is_causal=causal, implementation="cudnn", **lengths
  )
  return y[:, :count]


def compute_capability() -> float:
  """Returns CUDA's number of the first device, such as 9.0; 0.0: it has none."""
  number = getattr(jax.local_devices()[0], "compute_capability", "")
  return float(number) if number.replace(".", "").isdigit() else 0.0  # not AMD's


def probabilities(
  q: jax.Array,
  k: jax.Array,
  causal: bool = False,
  length: jax.Array | None = None,
  bias: jax.Array | None = None,
) -> jax.Array:
  """Computes what queries [B,N,h,d] give each key [B,M,h,d] -> [B,h,N,M] float32."""
  return jax.nn.softmax(_scores(q, k, length, bias, causal))


def _scores(q, k, length, bias, causal: bool) -> jax.Array:
  scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
  if causal:
    visible = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    scores = jnp.where(visible[None, None], scores, -jnp.inf)
  if length is not None:
    visible = jnp.arange(k.shape[1])[None] < length[:, None]
    scores = jnp.where(visible[:, None, None], scores, -jnp.inf)
  scores = scores * q.shape[-1] ** -0.5
  return scores if bias is None else scores + bias


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attend(q, k, v, length, bias, causal: bool) -> jax.Array:
  return _forward(q, k, v, length, bias, causal)[0]


def _forward(q, k, v, length, bias, causal):
  scores = _scores(q, k, length, bias, causal)
  top = scores.max(-1, keepdims=True)
  weights = jnp.exp(scores - top)
  total = weights.sum(-1, keepdims=True)
  out = jnp.einsum("bhqk,bkhd->bqhd", (weights / total).astype(v.dtype), v)
  return out, (q, k, v, length, bias, out, (top + jnp.log(total))[..., 0])


def _backward(causal, saved, grad):
  q, k, v, length, bias, out, log_total = saved
  f32 = jnp.float32
  p = jnp.exp(_scores(q, k, length, bias, causal) - log_total[..., None])
  mean = (grad.astype(f32) * out.astype(f32)).sum(-1)  # of a query's grad_p, by p
  mean = mean.transpose(0, 2, 1)[..., None]
  grad_p = jnp.einsum("bqhd,bkhd->bhqk", grad, v, preferred_element_type=f32)
  grad_scores = p * (grad_p - mean)
  grad_bias = None
  if bias is not None:
    shared = len(bias) == 1
    grad_bias = grad_scores.sum(0, keepdims=True) if shared else grad_scores
  grad_scores = (grad_scores * q.shape[-1] ** -0.5).astype(q.dtype)
  return (
    jnp.einsum("bhqk,bkhd->bqhd", grad_scores, k),
    jnp.einsum("bhqk,bqhd->bkhd", grad_scores, q),
    jnp.einsum("bhqk,bqhd->bkhd", p.astype(grad.dtype), grad),
    None,
    grad_bias,
  )


_attend.defvjp(_forward, _backward)
