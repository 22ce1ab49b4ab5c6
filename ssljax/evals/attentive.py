"""A classifier that looks at patches: one learned query attends over frozen features.

Chen et al. (2024, CAE) probe so beside the linear probe; the block is that of V-JEPA's
code (Bardes et al. 2024), with the map behind the attention that it leaves out.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import fields
from ssljax.evals import dense
from ssljax.evals.features import FeatureSet, accuracy
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, NotNegative, Positive, Seed

HEAD = 64  # features of a head of attention, about
HIDDEN = 4  # times as many in the block's MLP
INIT_STD = 0.02
EPSILON = 1e-6


@fields.checked("attentive")
def evaluate(
  features: FeatureSet,
  *,
  block: str = "",
  steps: Count = 4000,
  batch: Count = 256,
  learning_rate: Positive = 1e-3,
  weight_decay: NotNegative = 1e-3,
  seed: Seed = 0,
) -> dict[str, float]:
  """Measures the probe -> {"attentive": top-1 in %}, "attentive_top5" if C > 5.

  Of patches after an encoder's `block`, "" for the last. AdamW, whose rate falls to 0
  by a cosine, on pictures without augmentation; the test split is looked at once.
  """
  if features.patches is None:
    raise ConfigError(
      "attentive asks patches of pictures, and this encoder's input is none; leave the "
      "evaluator attentive out"
    )
  train_x, test_x = features.patches(block)
  scores = predict(
    fit(
      train_x,
      features.train_y,
      features.num_classes,
      steps=steps,
      batch=batch,
      learning_rate=learning_rate,
      weight_decay=weight_decay,
      seed=seed,
    ),
    test_x,
  )
  result = {"attentive": accuracy(scores, features.test_y)}
  if features.num_classes > 5:
    result["attentive_top5"] = accuracy(scores, features.test_y, top=5)
  return result


def fit(
  x: np.ndarray,
  y: np.ndarray,
  num_classes: int,
  *,
  steps: int,
  batch: int,
  learning_rate: float,
  weight_decay: float,
  seed: int,
) -> Any:
  """Trains on features of patches [N,h,w,D] and labels [N] -> its parameters."""

  def loss(params, rows, step):
    patches, label = rows
    scores = logits(params, patches)
    return optax.softmax_cross_entropy_with_integer_labels(scores, label).mean()

  return dense.train(
    loss,
    init(jax.random.key(seed), x.shape[-1], num_classes),
    (x, y),
    steps=steps,
    batch=batch,
    schedule=optax.cosine_decay_schedule(learning_rate, steps),
    weight_decay=weight_decay,
    seed=seed,
  )


def predict(params: Any, x: np.ndarray) -> np.ndarray:
  """Scores features of patches [M,h,w,D] -> f32 [M,C]."""
  score = jax.jit(lambda x: logits(params, x))
  return np.concatenate([scores for _, scores in dense.in_batches(score, x)])


def init(key: jax.Array, dim: int, num_classes: int) -> Any:
  """Initialises the query, the block around it and the classifier."""
  keys = iter(jax.random.split(key, 7))

  def normal(*shape):
    return INIT_STD * jax.random.truncated_normal(next(keys), -2, 2, shape)

  def layer(inputs, outputs):
    return {"kernel": normal(inputs, outputs), "bias": jnp.zeros(outputs)}

  def norm():
    return {"scale": jnp.ones(dim), "bias": jnp.zeros(dim)}

  return {
    "query": normal(1, dim),
    "norm1": norm(),
    "q": layer(dim, dim),
    "kv": layer(dim, 2 * dim),
    "proj": layer(dim, dim),
    "norm2": norm(),
    "fc1": layer(dim, HIDDEN * dim),
    "fc2": layer(HIDDEN * dim, dim),
    "head": layer(dim, num_classes),
  }


def logits(params: Any, patches: jax.Array) -> jax.Array:
  """Scores the classes of pictures by their patches [B,h,w,D] -> [B,C]."""
  b, *_, dim = patches.shape
  heads = heads_of(dim)
  split = heads, dim // heads
  q = _dense(params["q"], params["query"]).reshape(split)
  x = _norm(params["norm1"], patches.reshape(b, -1, dim))
  kv = _dense(params["kv"], x).reshape(b, -1, 2, *split)
  scores = jnp.einsum("hd,bnhd->bhn", q, kv[:, :, 0]) * split[1] ** -0.5
  y = jnp.einsum("bhn,bnhd->bhd", jax.nn.softmax(scores), kv[:, :, 1])
  x = params["query"] + _dense(params["proj"], y.reshape(b, dim))
  hidden = jax.nn.gelu(_dense(params["fc1"], _norm(params["norm2"], x)), False)
  return _dense(params["head"], x + _dense(params["fc2"], hidden))


def heads_of(dim: int) -> int:
  """Counts the heads of so many features: the most, of 64 or more, that divide them."""
  return max(n for n in range(1, max(1, dim // HEAD) + 1) if dim % n == 0)


def _dense(params: Any, x: jax.Array) -> jax.Array:
  bias = params["bias"].reshape(*(1,) * (x.ndim - 1), -1)
  return jnp.matmul(x, params["kernel"]) + bias


def _norm(params: Any, x: jax.Array) -> jax.Array:
  mean = x.mean(-1, keepdims=True)
  x = (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + EPSILON)
  shape = (1,) * (x.ndim - 1)
  return x * params["scale"].reshape(*shape, -1) + params["bias"].reshape(*shape, -1)
