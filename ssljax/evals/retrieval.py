"""Retrieval: whether a picture finds those of its own class first."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import fields
from ssljax.evals.features import FeatureSet, ask, at_most, unit
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, OneOf

GALLERIES = ("test", "train")


@fields.checked("retrieval")
def evaluate(
  features: FeatureSet,
  *,
  ks: Sequence[Count] = (1, 5, 10),
  gallery: Annotated[str, OneOf(GALLERIES)] = "test",
) -> dict[str, float]:
  """Measures retrieval by each test example -> {"map": %, "recall_1": %, ...}.

  "recall_k" (Jegou et al. 2011; Oh Song et al. 2016): the share of queries with an
  example of their class among the k most similar. "map": mean average precision over
  the whole ranking by cosine. The gallery is the rest of the test split, as metric
  learning has it, or the train split. A query whose class the gallery does not have
  counts in neither. Of equally similar examples the earlier one comes first.
  """
  itself = gallery == "test"
  x = features.test_x if itself else features.train_x
  y = features.test_y if itself else features.train_y
  most = len(y) - itself
  if not all(1 <= k <= most for k in ks):
    raise ConfigError(f"ks={tuple(ks)} must lie between 1 and the gallery's {most}")
  precision, first = _rank(
    jnp.asarray(unit(x)),
    jnp.asarray(y),
    jnp.asarray(unit(features.test_x)),
    jnp.asarray(features.test_y),
    itself=itself,
  )
  has_match = np.isfinite(precision)
  if not has_match.any():
    raise ConfigError("no test example has another of its class in the gallery")
  result = {"map": 100 * float(np.mean(precision[has_match]))}
  for k in ks:
    result[f"recall_{k}"] = 100 * float(np.mean(first[has_match] < k))
  return result


def limits(train_y: np.ndarray, test_y: np.ndarray, numbers: Mapping[str, Any]):
  """Picks a gallery that has the queries' classes, and lowers `ks` to its size."""
  gallery = numbers["gallery"]
  if gallery == "test" and np.unique(test_y, return_counts=True)[1].max() < 2:
    gallery = "train"
    yield "gallery", gallery, "no test example has another of its class there"
  if gallery == "train" and not np.isin(test_y, train_y).any():
    raise ConfigError("no test example has another of its class in the gallery")
  n = len(test_y) - 1 if gallery == "test" else len(train_y)
  yield "ks", at_most(numbers["ks"], n), f"there are {n} examples to be found"


@partial(jax.jit, static_argnames="itself")
def _rank(gallery_x, gallery_y, query_x, query_y, *, itself):
  """Ranks the gallery -> average precision [M], NaN: no hit; first hit's rank [M]."""

  def one(query):
    number, x, label = query
    cosines = jnp.matmul(gallery_x, x, precision="highest")
    relevant = gallery_y == label
    if itself:  # last, and no hit
      cosines = cosines.at[number].set(-jnp.inf)
      relevant = relevant.at[number].set(False)
    hits = relevant[jnp.argsort(-cosines, stable=True)]
    num_hits = jnp.cumsum(hits).astype(jnp.float32)
    precision = num_hits / jnp.arange(1, len(hits) + 1, dtype=jnp.float32)
    return jnp.sum(precision, where=hits) / num_hits[-1], jnp.argmax(hits)

  queries = jnp.arange(len(query_y)), query_x, query_y
  return ask(one, queries, len(gallery_y))
