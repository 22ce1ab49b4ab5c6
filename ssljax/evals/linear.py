"""Softmax regression on frozen features: what a linear layer can read from them.

The problem is convex, so there is one answer and no learning rate: full-batch L-BFGS
finds it. (Published ImageNet probes augment the pictures and train by SGD; that is
training, not this.)
"""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from threadpoolctl import threadpool_limits

from ssljax.evals.features import FeatureSet, accuracy
from ssljax.fields import ConfigError

L2_GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
HELD_OUT = 0.2  # of the train features, to choose from the grid
MAX_ITERATIONS = 200


def evaluate(features: FeatureSet, *, folds: str = "") -> dict[str, float]:
  """Measures softmax regression -> {"linear": top-1 in %}, "linear_top5" if C > 5.

  The weight decay is the best of `L2_GRID` on a held-out fifth of the train features;
  the test features are looked at once, at the end. `folds` is a file with a fold a
  line, the numbers of the examples that train: -> the means over folds, and deviations
  "linear_std", "linear_top5_std". STL-10 (Coates et al. 2011) is judged so.
  """
  if not folds:
    return _evaluate(features)
  rows = [_evaluate(part) for part in _parts(features, folds)]
  scores = {name: [row[name] for row in rows] for name in rows[0]}
  means = {name: float(np.mean(values)) for name, values in scores.items()}
  return means | {f"{name}_std": float(np.std(v)) for name, v in scores.items()}


def _evaluate(features: FeatureSet) -> dict[str, float]:
  features = standardised(features)
  train = (features.train_x, features.train_y)
  l2 = choose_l2(*train, features.num_classes)
  weights = fit(*train, l2, features.num_classes)
  scores = logits(weights, features.test_x)
  result = {"linear": accuracy(scores, features.test_y)}
  if features.num_classes > 5:
    result["linear_top5"] = accuracy(scores, features.test_y, top=5)
  return result


def _parts(features: FeatureSet, folds: str) -> list[FeatureSet]:
  """Splits the train features into folds; what could not be read is left out."""
  listed, parts = features.listed(), []
  for i, numbers in enumerate(_read(folds), 1):
    rows = np.flatnonzero(np.isin(listed[features.train_index], numbers))
    y = features.train_y[rows]
    strange, classes = np.setdiff1d(numbers, listed), len(np.unique(y))
    if len(strange) or classes < len(np.unique(features.train_y)):
      raise ConfigError(
        f"linear.folds={folds!r}: {len(strange)} of the {len(numbers)} numbers of line "
        f"{i} are none of the {len(listed)} training examples, and the others are of "
        f"{classes} classes; name the split that was cut into folds: "
        "--config.data.train_split=train"
      )
    parts.append(features._replace(train_x=features.train_x[rows], train_y=y))
  return parts


def _read(folds: str) -> list[np.ndarray]:
  try:
    lines = pathlib.Path(folds).expanduser().read_text("utf-8").splitlines()
    numbers = [np.array(line.split(), np.int64) for line in lines if line.split()]
  except (OSError, ValueError) as error:
    raise ConfigError(f"linear.folds={folds!r} cannot be read: {error}") from error
  if not numbers:
    raise ConfigError(f"linear.folds={folds!r} is empty; it needs a line for each fold")
  return numbers


def standardised(features: FeatureSet) -> FeatureSet:
  """Applies the `standardiser` of the train features to both splits."""
  change = standardiser(features.train_x)
  return features._replace(
    train_x=change(features.train_x), test_x=change(features.test_x)
  )


def standardiser(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """Makes the map of features [M,D] that gives each of x [N,D] mean 0, variance 1.

  A hundredth of the typical deviation is the least divided by, so that features which
  hardly ever change do not become large where they do.
  """
  mean, std = x.mean(0, keepdims=True), x.std(0, keepdims=True)
  std = np.maximum(std, 0.01 * np.sqrt(np.mean(std**2)) + 1e-12)
  return lambda x: (x - mean) / std


def choose_l2(x: np.ndarray, y: np.ndarray, num_classes: int) -> float:
  """Chooses the value of `L2_GRID` that predicts held-out rows of x [N,D], y [N] best.

  Among equally good ones the largest, as of a single example. Each fit starts where the
  last one ended.
  """
  if len(x) < 2:
    return L2_GRID[0]
  order = np.random.default_rng(0).permutation(len(x))
  held_out, fitted = np.split(order, [max(1, int(HELD_OUT * len(x)))])
  weights, best = None, (-1.0, 0.0)
  for l2 in L2_GRID:
    weights = fit(x[fitted], y[fitted], l2, num_classes, start=weights)
    correct = accuracy(logits(weights, x[held_out]), y[held_out])
    best = max(best, (correct, l2))
  return best[1]


def fit(
  x: np.ndarray,
  y: np.ndarray,
  l2: float,
  num_classes: int,
  start: np.ndarray | None = None,
) -> np.ndarray:
  """Minimises mean cross-entropy + l2/2 |kernel|^2 -> weights [D+1,C], bias last.

  scikit-learn's `C` is 1 / (l2 * N).
  """
  shape = (x.shape[1] + 1, num_classes)
  x, y, l2 = jnp.asarray(x), jnp.asarray(y), jnp.float32(l2)

  def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
    weights = jnp.asarray(flat.reshape(shape), jnp.float32)
    loss, gradient = _loss_and_gradient(weights, x, y, l2)
    return float(loss), np.asarray(gradient, np.float64).ravel()

  # One BLAS thread: on short vectors, more would wait for each other and for XLA.
  with threadpool_limits(1, user_api="blas"):
    solution = scipy.optimize.minimize(
      loss_and_gradient,
      np.zeros(shape).ravel() if start is None else start.ravel(),
      jac=True,
      method="L-BFGS-B",
      options={"maxiter": MAX_ITERATIONS, "ftol": 0, "gtol": 1e-5},
    )
  return solution.x.reshape(shape)


def logits(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
  """Applies weights [D+1,C] to x [N,D] -> logits [N,C]."""
  return x @ weights[:-1] + weights[-1:]


@jax.jit
@jax.value_and_grad
def _loss_and_gradient(weights, x, y, l2):
  kernel, bias = weights[:-1], weights[-1:]
  scores = jnp.matmul(x, kernel, precision="highest") + bias
  loss = optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()
  return loss + l2 / 2 * jnp.sum(kernel**2)
