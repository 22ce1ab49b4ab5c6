"""Weighted k nearest neighbours (Wu et al. 2018, section 3.4)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import fields
from ssljax.evals.features import FeatureSet, accuracy, ask, at_most, unit
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Positive


@fields.checked("knn")
def evaluate(
  features: FeatureSet,
  *,
  k: Count | Sequence[Count] = 200,
  temperature: Positive = 0.07,
) -> dict[str, float]:
  """Measures weighted kNN -> {"knn": top-1 in %}; of several k {"knn_10": ..., ...}.

  CIFAR papers take a temperature of 0.1.
  """
  class_votes = votes(features, k=k, temperature=temperature)
  if isinstance(k, int):
    return {"knn": accuracy(class_votes, features.test_y)}
  pairs = zip(k, class_votes, strict=True)
  return {f"knn_{each}": accuracy(scores, features.test_y) for each, scores in pairs}


def limits(train_y: np.ndarray, test_y: np.ndarray, numbers: Mapping[str, Any]):
  """Lowers k to the number of training examples."""
  n = len(train_y)
  yield "k", at_most(numbers["k"], n), f"there are {n} training examples"


def votes(
  features: FeatureSet, *, k: int | Sequence[int], temperature: float
) -> np.ndarray:
  """Computes `weighted_knn` for the test features: votes f32 [M,C].

  Where nothing is held out each example is judged by the others.
  """
  return weighted_knn(
    features.train_x,
    features.train_y,
    features.test_x,
    k=k,
    temperature=temperature,
    num_classes=features.num_classes,
    places=None if features.held_out else (features.train_index, features.test_index),
  )


def weighted_knn(
  train_x: np.ndarray,
  train_y: np.ndarray,
  test_x: np.ndarray,
  *,
  k: int | Sequence[int],
  temperature: float,
  num_classes: int,
  places: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
  """Votes on test [M,D] by train [N,D], its labels [N] -> f32 [M,C]; argmax predicts.

  Of several k [K,M,C], all by one search. A class gets sum_i exp((cos_i - 1) /
  temperature) over those of the k most similar train examples that belong to it.
  Lemniscate and DINO leave out the -1, a constant factor that overflows at small
  temperatures. Exact search; of equally similar examples the earlier one is the
  neighbour. By `places` i32 [N] and [M] an example has no vote on itself.
  """
  if temperature <= 0:
    raise ConfigError(f"temperature={temperature} must be positive; try 0.1")
  ks = (k,) if isinstance(k, int) else tuple(k)
  for each in ks:
    if not 1 <= each <= len(train_x):
      raise ConfigError(
        f"k={each} must lie between 1 and the {len(train_x)} train examples; "
        f"try {max(1, len(train_x) // 10)}"
      )
  class_votes = _votes(
    jnp.asarray(unit(train_x), jnp.float32),
    jnp.asarray(train_y, jnp.int32),
    jnp.asarray(unit(test_x), jnp.float32),
    jnp.float32(temperature),
    jax.tree.map(jnp.asarray, places),
    ks=ks,
    num_classes=num_classes,
  )
  return np.asarray(class_votes[0] if isinstance(k, int) else class_votes)


@partial(jax.jit, static_argnames=("ks", "num_classes"))
def _votes(train_x, train_y, test_x, temperature, places, *, ks, num_classes):
  """Computes the votes [K,M,C] of K numbers of neighbours in one search."""
  train_places, test_places = places or (None, None)

  def vote(query):
    x, place = query
    cosines = jnp.matmul(train_x, x, precision="highest")
    if place is not None:
      cosines = jnp.where(train_places == place[None], -jnp.inf, cosines)
    cosines, neighbours = jax.lax.top_k(cosines, max(ks))
    weights, classes = jnp.exp((cosines - 1) / temperature), train_y[neighbours]
    none = jnp.zeros(num_classes)
    return jnp.stack([none.at[classes[:k]].add(weights[:k]) for k in ks])

  return jnp.moveaxis(ask(vote, (test_x, test_places), len(train_x)), 1, 0)
