"""How embeddings lie in their space: what can be told without labels."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from ssljax import fields
from ssljax.evals.features import FeatureSet, unit
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Range

MOST = 5000  # examples whose pairs are compared


@fields.checked("geometry")
def evaluate(
  features: FeatureSet, *, draws: Annotated[int, Range(2)] = 4
) -> dict[str, float]:
  """Measures how the test split's features lie in their space, without labels.

  -> {"rankme", "uniformity"} and, from `draws` random views of each picture that the
  run learns from, "alignment" and "lidar": raw input has no such views. Where there are
  prototypes, "prototypes_used": the share, in %, that score highest for some picture.
  """
  x = features.test_x
  chosen = np.random.default_rng(0).permutation(len(x))[:MOST]
  result = {"rankme": rankme(x), "uniformity": uniformity(x[chosen])}
  if features.draw:
    views = features.draw(draws, chosen)
    result |= {"alignment": alignment(views), "lidar": lidar(views)}
  if features.assign:
    chosen, count = features.assign()
    result["prototypes_used"] = 100 * len(np.unique(chosen)) / count
  return result


def limits(train_y: np.ndarray, test_y: np.ndarray, numbers: Mapping[str, Any]):
  """Raises ConfigError for a single example: it has no place among others."""
  if len(test_y) < 2:
    raise ConfigError(
      f"geometry compares examples, and the test split has {len(test_y)}; name another "
      "with data.eval_split"
    )
  return ()


def rankme(x: np.ndarray, eps: float = 1e-7) -> float:
  """Measures embeddings [N,D] -> their effective rank, 1 to min(N, D); 0: all are 0.

  RankMe (Garrido et al. 2023), eq. 1: exp of the entropy of the singular values'
  shares, of features that are not centred.
  """
  x = x.astype(np.float64)
  squared = np.linalg.eigvalsh(x.T @ x)  # of D x D: N may be a hundred times D
  return _exp_entropy(np.sqrt(np.maximum(squared, 0)), eps)


def lidar(x: np.ndarray, delta: float = 1e-4, eps: float = 1e-7) -> float:
  """Measures embeddings [N,Q,D], Q views of each of N > 1 examples -> effective rank.

  From 1 to N - 1; 0 where nothing tells examples apart.

  LiDAR (Thilak et al. 2023), eq. 1 to 3: of what tells examples apart, measured by how
  views of one example vary: the eigenvalues of W^-1/2 B W^-1/2, where B is the
  covariance of the examples' means and W that of their views about them, plus `delta`.
  """
  x = x.astype(np.float64)
  mean = x.mean(1)
  between = np.cov(mean, rowvar=False, ddof=1)
  residuals = (x - mean[:, None]).reshape(-1, x.shape[-1])
  within = residuals.T @ residuals / (x.shape[0] * (x.shape[1] - 1))
  values, vectors = np.linalg.eigh(within + delta * np.eye(x.shape[-1]))
  whiten = (vectors / np.sqrt(values)) @ vectors.T
  values = np.linalg.eigvalsh(whiten @ between @ whiten)
  return _exp_entropy(np.maximum(values, 0), eps)


def alignment(x: np.ndarray, alpha: float = 2.0) -> float:
  """Measures embeddings [N,Q,D] -> mean |u - v|^alpha of an example's views; best 0.

  Wang and Isola (2020), eq. 3, of unit vectors, over all pairs of views.
  """
  views = np.moveaxis(unit(x.astype(np.float64)), 1, 0)
  pairs = itertools.combinations(views, 2)
  squared = [np.square(u - v).sum(-1) for u, v in pairs]
  return float(np.mean(np.power(squared, alpha / 2)))


def uniformity(x: np.ndarray, t: float = 2.0) -> float:
  """Measures embeddings [N,D] -> log of the mean exp(-t |u - v|^2) over examples.

  Wang and Isola (2020), eq. 4, of unit vectors: 0 where all are alike, about -2t for
  the uniform distribution in many dimensions.
  """
  x = unit(x.astype(np.float64))
  squared = 2 - 2 * x @ x.T
  return float(np.log(np.mean(np.exp(-t * squared[np.triu_indices(len(x), k=1)]))))


def spectrum(x: np.ndarray) -> np.ndarray:
  """Returns the eigenvalues [min(N,D)] of embeddings' [N,D] covariance, falling."""
  x = x.astype(np.float64) - x.mean(0, keepdims=True)
  return np.linalg.svd(x, compute_uv=False) ** 2 / len(x)


def agreement(before: np.ndarray, after: np.ndarray, k: int = 10) -> float:
  """Compares embeddings [N,D], [N,D'] of the same examples: % of common neighbours.

  The mean overlap of an example's k most similar others in the one space with those in
  the other (mutual kNN; Huh et al. 2024).
  """
  first, second = neighbours(before, k), neighbours(after, k)
  common = [len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)]
  return 100 * float(np.mean(common)) / k


def neighbours(x: np.ndarray, k: int) -> np.ndarray:
  """Finds the k most similar others, by cosine, of embeddings [N,D] -> i64 [N,k]."""
  x = unit(x)
  cosines = x @ x.T
  np.fill_diagonal(cosines, -np.inf)
  return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def _exp_entropy(values: np.ndarray, eps: float) -> float:
  """Computes the exponential of the entropy; 0 where all values are 0."""
  if not values.any():
    return 0.0
  shares = values / values.sum() + eps
  return float(np.exp(-np.sum(shares * np.log(shares))))
