import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import sharding
from ssljax.losses import contrastive, metric

LABEL = np.array([0, 1, 0, 2, 1, 1, 3, 0])
SAME = LABEL[:, None] == LABEL[None]
POSITIVE = SAME & ~np.eye(len(LABEL), dtype=bool)
ROWS = range(len(LABEL))
PAIRS = [(i, j) for i in ROWS for j in ROWS if POSITIVE[i, j]]
X = np.random.default_rng(0).normal(size=(len(LABEL), 4)).astype(np.float32)


def negatives(i):
  return [n for n in ROWS if LABEL[n] != LABEL[i]]


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def squares(x):
  rows = unit(x)
  return [[np.sum((u - v) ** 2) for v in rows] for u in rows]


def margin_equation(x):
  d = np.sqrt(squares(x))
  attract = [d[pair] ** 2 / 2 for pair in PAIRS]
  repel = [max(0, 1.2 - d[i, n]) ** 2 / 2 for i in ROWS for n in negatives(i)]
  return np.mean(attract) + np.mean(repel)


def hinge(d, a, p, n):
  return max(0, d[a][p] - d[a][n] + 0.7)


def all_equation(x):
  d = squares(x)
  return np.mean([hinge(d, a, p, n) for a, p in PAIRS for n in negatives(a)])


def hard_equation(x):
  d, losses = squares(x), []
  for a, pairs in itertools.groupby(PAIRS, lambda pair: pair[0]):
    p = max((p for _, p in pairs), key=lambda p: d[a][p])
    n = min(negatives(a), key=lambda n: d[a][n])
    losses.append(hinge(d, a, p, n))
  return np.mean(losses)


def semi_hard_equation(x):
  d, losses = squares(x), []
  for a, p in PAIRS:
    farther = [n for n in negatives(a) if d[a][n] > d[a][p]]
    if farther:
      n = min(farther, key=lambda n: d[a][n])
    else:
      n = max(negatives(a), key=lambda n: d[a][n])
    losses.append(hinge(d, a, p, n))
  return np.mean(losses)


def n_pair_equation(x):
  losses = [
    np.log(1 + sum(np.exp(x[a] @ x[n] - x[a] @ x[p]) for n in negatives(a)))
    for a, p in PAIRS
  ]
  return np.mean(losses) + 0.02 * np.mean([v @ v for v in x])


def info_nce_equation(x):
  u, losses = unit(x), []
  for a, p in PAIRS:
    f = np.exp(u[a] @ u[p] / 0.4)
    losses.append(
      -np.log(f / (f + sum(np.exp(u[a] @ u[n] / 0.4) for n in negatives(a))))
    )
  return np.mean(losses)


def nce_equation(x):
  u = unit(x)
  noise = [(i, n) for i in ROWS for n in negatives(i)]
  nu = len(noise) / len(PAIRS)

  def is_data(i, j):
    model = np.exp(u[i] @ u[j] / 0.4)
    return model / (model + nu)

  total = sum(np.log(is_data(*pair)) for pair in PAIRS)
  total += sum(np.log(1 - is_data(*pair)) for pair in noise)
  return -total / len(PAIRS)


def logistic_equation(x):
  u = unit(x)

  def sigmoid(v):
    return 1 / (1 + np.exp(-v))

  near = [-np.log(sigmoid(u[i] @ u[j] / 0.4)) for i, j in PAIRS]
  far = [-np.log(sigmoid(-u[i] @ u[n] / 0.4)) for i in ROWS for n in negatives(i)]
  return np.mean(near) + np.mean(far)


CASES = {
  "margin": (lambda x, p: metric.margin(x, p, 1.2), margin_equation),
  "triplet_all": (lambda x, p: metric.triplet(x, p, 0.7, "all"), all_equation),
  "triplet_hard": (lambda x, p: metric.triplet(x, p, 0.7, "hard"), hard_equation),
  "triplet_semi_hard": (
    lambda x, p: metric.triplet(x, p, 0.7, "semi_hard"),
    semi_hard_equation,
  ),
  "n_pair": (lambda x, p: metric.n_pair(x, p, 0.02), n_pair_equation),
  "info_nce": (lambda x, p: metric.info_nce(x, p, 0.4), info_nce_equation),
  "nce": (lambda x, p: metric.nce(x, p, 0.4), nce_equation),
  "logistic": (lambda x, p: metric.logistic(x, p, 0.4), logistic_equation),
}
every_loss = pytest.mark.parametrize("name", CASES)


@every_loss
def test_a_loss_is_its_papers_equation_in_loops(name):
  loss, equation = CASES[name]
  assert_allclose(loss(X, POSITIVE), equation(X.astype(np.float64)), rtol=2e-6)


@every_loss
def test_a_gradient_is_the_equations_by_finite_differences(name):
  loss, equation = CASES[name]
  expected, step = np.zeros(X.shape), 1e-6
  for at in np.ndindex(X.shape):
    ahead, behind = X.astype(np.float64), X.astype(np.float64)
    ahead[at] += step
    behind[at] -= step
    expected[at] = (equation(ahead) - equation(behind)) / (2 * step)
  assert_allclose(jax.grad(loss)(X, POSITIVE), expected, atol=2e-6)


@every_loss
@pytest.mark.parametrize("together", [False, True])
def test_a_batch_of_one_kind_has_a_finite_loss_and_gradient(name, together):
  """Without a positive pair, without a negative one; two rows equal, one dead."""
  x = jnp.asarray(X).at[1].set(X[0]).at[2].set(0.0)
  positive = np.full((8, 8), together) & ~np.eye(8, dtype=bool)
  loss, grad = jax.jit(jax.value_and_grad(CASES[name][0]))(x, positive)
  assert np.isfinite(loss)
  assert np.isfinite(grad).all()
  attracts_alone = {"margin", "n_pair", "logistic"}
  if name not in attracts_alone:
    assert loss == 0


@every_loss
def test_eight_devices_give_the_loss_and_gradient_of_one(name):
  rows = sharding.by_rows(sharding.make_mesh())
  step = jax.jit(jax.value_and_grad(CASES[name][0]))
  spread = step.lower(*jax.device_put((X, POSITIVE), rows)).compile()
  loss, grad = spread(*jax.device_put((X, POSITIVE), rows))
  expected, expected_grad = step(X, POSITIVE)
  assert_allclose(loss, expected, rtol=1e-6)
  assert_allclose(grad, expected_grad, atol=1e-6)


def test_views_of_a_picture_belong_together_and_no_view_to_itself():
  same = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
  expected = np.kron(same, np.ones((2, 2), bool)) & ~np.eye(6, dtype=bool)
  assert_array_equal(metric.of_views(same, 2), expected)


SQUARE = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])  # d: 2, 4, 2
FIRST_TWO = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)


@pytest.mark.parametrize(
  ("loss", "by_hand"),
  [
    # positive pair at sqrt 2; negative ones at 2, 2, sqrt 2, sqrt 2
    (lambda x, p: metric.margin(x, p, 1.5), 1 + (1.5 - 2**0.5) ** 2 / 4),
    # anchor 0: 2 - 4 + 3 = 1, anchor 1: 2 - 2 + 3 = 3
    (lambda x, p: metric.triplet(x, p, 3.0, "all"), 2.0),
    (lambda x, p: metric.triplet(x, p, 3.0, "hard"), 2.0),
    (lambda x, p: metric.triplet(x, p, 3.0, "semi_hard"), 2.0),
    # x.x: 0 for the pair; -3 and 0 for anchors 0 and 1 with their negative
    (
      lambda x, p: metric.n_pair(x, p, 0.3),
      (np.log(1 + np.exp(-3)) + np.log(2)) / 2 + 0.3 * 14 / 3,
    ),
    (
      lambda x, p: metric.info_nce(x, p, 0.5),
      (np.log(1 + np.exp(-2)) + np.log(2)) / 2,
    ),
    # nu = 2: data are told from noise at odds e^s / 2
    (
      lambda x, p: metric.nce(x, p, 0.5),
      np.log(3) + np.log(1 + np.exp(-2) / 2) + np.log(1.5),
    ),
    (
      lambda x, p: metric.logistic(x, p, 0.5),
      np.log(2) + (np.log(1 + np.exp(-2)) + np.log(2)) / 2,
    ),
  ],
)
def test_three_rows_by_hand(loss, by_hand):
  assert_allclose(loss(jnp.asarray(SQUARE, jnp.float32), FIRST_TWO), by_hand, rtol=1e-6)


def test_info_nce_of_two_views_without_labels_is_nt_xent():
  z = jnp.asarray(X).reshape(4, 2, 4)
  positive = metric.of_views(np.eye(4, dtype=bool), 2)
  assert_allclose(
    metric.info_nce(X, positive, 0.4), contrastive.nt_xent(z, 0.4), rtol=1e-6
  )


def test_triplets_of_a_large_batch_need_no_cube():
  n = 512
  x = jax.ShapeDtypeStruct((n, 16), jnp.float32)
  positive = jax.ShapeDtypeStruct((n, n), jnp.bool)
  for mining in metric.MINING:
    step = jax.jit(jax.grad(lambda x, p, m=mining: metric.triplet(x, p, 0.5, m)))
    memory = step.lower(x, positive).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 40 * n * n * 4
