import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import sharding
from ssljax.losses import redundancy

WEIGHTS = 25.0, 25.0, 1.0  # VICReg's lambda, mu, nu


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def close(actual, expected, tolerance=2e-6):
  """Within a share of the largest expected entry."""
  assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def agrees_with(o, loss_fn):
  """The oracle's loss of views a and b, and its gradient by both."""
  z = jnp.stack([o["in_a"], o["in_b"]], 1)
  loss, grad = jax.jit(jax.value_and_grad(loss_fn))(z)
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grad[:, 0], o["out_grad_a"])
  close(grad[:, 1], o["out_grad_b"])


@pytest.mark.parametrize(
  ("file", "weight"),
  [("12_barlow_official_0", "hp_lambd"), ("12_lightly_barlow_0", "hp_lambda_param")],
)
def test_barlow_twins_gives_the_official_loss_and_gradient(file, weight):
  o = oracle(file)
  agrees_with(o, lambda z: redundancy.barlow_twins(z, float(o[weight])))


def test_barlow_twins_is_the_papers_equation():
  z = normal(0, 7, 2, 3).astype(np.float64)
  a, b = z[:, 0] - z[:, 0].mean(0), z[:, 1] - z[:, 1].mean(0)
  expected = 0.0
  for i, j in np.ndindex(3, 3):
    norms = np.sqrt((a[:, i] ** 2).sum()) * np.sqrt((b[:, j] ** 2).sum())
    c = (a[:, i] * b[:, j]).sum() / norms
    expected += (1 - c) ** 2 if i == j else 0.1 * c**2
  assert_allclose(redundancy.barlow_twins(jnp.float32(z), 0.1), expected, rtol=1e-4)


def test_barlow_twins_of_one_view_twice_is_its_correlation_counted_off_the_diagonal():
  x = jnp.asarray([[1.0, 3.0], [-1.0, 3.0], [1.0, -3.0], [-1.0, -3.0], [2.0, 6.0]])
  once = jnp.stack([x[:4], x[:4]], 1)  # two dimensions without correlation
  assert_allclose(redundancy.barlow_twins(once, 0.5), 0.0, atol=1e-8)
  twice = jnp.stack([x[:4, :1].repeat(2, 1)] * 2, 1)  # the same dimension twice
  assert_allclose(redundancy.barlow_twins(twice, 0.5), 2 * 0.5, rtol=1e-4)


@pytest.mark.parametrize("file", ["12_vicreg_official_0", "12_lightly_vicreg_0"])
def test_vicreg_gives_the_official_loss_and_gradient(file):
  agrees_with(oracle(file), lambda z: redundancy.vicreg(z, *WEIGHTS))


def test_vicreg_is_the_papers_equations():
  z = normal(1, 6, 2, 3).astype(np.float64)
  count, _, dim = z.shape
  distance = sum(((a - b) ** 2).sum() for a, b in z) / (count * dim)
  variance = covariance = 0.0
  for view in (z[:, 0], z[:, 1]):
    mean = sum(view) / count
    for i, j in np.ndindex(dim, dim):
      products = [(x[i] - mean[i]) * (x[j] - mean[j]) for x in view]
      entry = sum(products) / (count - 1)
      if i == j:
        variance += max(0.0, 1 - np.sqrt(entry + 1e-4)) / dim / 2
      else:
        covariance += entry**2 / dim
  expected = 2.0 * distance + 3.0 * variance + 5.0 * covariance
  assert_allclose(redundancy.vicreg(jnp.float32(z), 2.0, 3.0, 5.0), expected, rtol=1e-5)


def test_vicreg_of_one_picture_for_all_is_the_missing_deviation():
  z = jnp.ones((4, 2, 3))
  assert_allclose(redundancy.vicreg(z, 25.0, 25.0, 1.0), 25 * 0.99, rtol=1e-6)


def test_tico_gives_the_reference_losses_gradients_and_covariances():
  o = oracle("12_lightly_tico_0")
  rho, beta = float(o["hp_rho"]), float(o["hp_beta"])
  covariance = jnp.zeros((6, 6))

  @jax.jit
  def step(a, b, covariance):
    covariance = beta * covariance + (1 - beta) * redundancy.second_moment(a)
    grad_fn = jax.value_and_grad(redundancy.tico, argnums=(0, 1))
    return *grad_fn(a, b, covariance, rho), covariance

  for i, (a, b) in enumerate(zip(o["in_a"], o["in_b"], strict=True)):
    loss, grads, covariance = step(a, b, covariance)
    assert_allclose(loss, o["out_loss"][i], rtol=2e-6)
    close(covariance, o["out_C"][i])
    close(grads[0], o["out_grad_a"][i])
    close(grads[1], o["out_grad_b"][i])


def test_tico_is_the_papers_equation():
  a, b, rows = normal(2, 4, 3), normal(3, 4, 3), unit(normal(4, 5, 3))
  covariance = rows.T @ rows / 5
  expected = 0.0
  for x, y in zip(unit(a.astype(np.float64)), unit(b.astype(np.float64)), strict=True):
    contrast = np.mean([(x @ row) ** 2 for row in rows])
    expected += (((x - y) ** 2).sum() / 2 + 8.0 * contrast) / 4
  assert_allclose(redundancy.tico(a, b, covariance, 8.0), expected, rtol=1e-5)


def test_tico_of_agreeing_views_is_rho_times_the_share_of_their_direction():
  x = jnp.asarray([[3.0, 0.0], [0.0, 2.0]])
  moment = redundancy.second_moment(x)
  assert_allclose(moment, np.eye(2) / 2, rtol=1e-6)
  assert_allclose(redundancy.tico(x, x, moment, 8.0), 8 / 2, rtol=1e-6)


def deals(batch, count):
  orders = [np.random.default_rng(s).permutation(batch) for s in range(count)]
  return np.int32(orders)


def w_mse_equation(z, order, sub_batch):
  """Section 3 for one deal: whitening by one matrix a view, one picture at a time."""
  total, z = 0.0, z.astype(np.float64)
  for start in range(0, len(order), sub_batch):
    members = order[start : start + sub_batch]
    white = []
    for view in (0, 1):
      rows = z[members, view]
      covariance = np.cov(rows, rowvar=False)
      # The lower triangular W with W'W = covariance^-1.
      w = np.linalg.inv(np.linalg.cholesky(covariance))
      assert_allclose(w.T @ w, np.linalg.inv(covariance), rtol=1e-6, atol=1e-9)
      white.append([w @ (row - rows.mean(0)) for row in rows])
    for v, u in zip(*white, strict=True):
      total += 2 - 2 * (v @ u) / np.linalg.norm(v) / np.linalg.norm(u)
  return total / len(order)


def test_w_mse_is_the_papers_mean_over_deals_and_their_sub_batches():
  z, order = normal(5, 16, 2, 3), deals(16, 3)
  expected = np.mean([w_mse_equation(z, row, 8) for row in order])
  assert_allclose(redundancy.w_mse(jnp.asarray(z), order, 8), expected, rtol=1e-5)


def test_w_mse_of_two_lines_is_nil_where_they_rise_together_and_four_where_against():
  x = jnp.asarray([[1.0], [5.0], [6.0], [9.0]])  # whitening takes scale and place away
  order = jnp.arange(4)[None]
  together = jnp.stack([x, 3 * x - 7], 1)
  assert_allclose(redundancy.w_mse(together, order, 4), 0.0, atol=1e-6)
  against = jnp.stack([x, -2 * x], 1)
  assert_allclose(redundancy.w_mse(against, order, 4), 4.0, rtol=1e-5)


def test_whitened_rows_have_no_mean_and_the_identity_as_covariance():
  x = normal(6, 3, 20, 4) @ normal(7, 4, 4) + 5
  for rows in redundancy.whitened(jnp.asarray(x)):
    assert_allclose(rows.mean(0), 0, atol=1e-5)
    assert_allclose(np.cov(rows, rowvar=False), np.eye(4), atol=1e-4)


def test_sub_batches_that_cannot_be_are_told_why():
  z = jnp.zeros((12, 2, 6))
  with pytest.raises(ValueError, match="sub_batch=8 must divide the batch of 12"):
    redundancy.w_mse(z, jnp.arange(12)[None], 8)
  with pytest.raises(ValueError, match="sub_batch=6 must be larger than the 6 dim"):
    redundancy.w_mse(z, jnp.arange(12)[None], 6)


LOSSES = {
  "barlow": lambda z: redundancy.barlow_twins(z, 0.005),
  "vicreg": lambda z: redundancy.vicreg(z, *WEIGHTS),
  "tico": lambda z: redundancy.tico(
    z[:, 0], z[:, 1], redundancy.second_moment(z[:, 0]), 8.0
  ),
  "w_mse": lambda z: redundancy.w_mse(z, jnp.asarray(deals(16, 2)), 8),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name):
  z = jnp.asarray(normal(9, 16, 2, 4))
  check_grads(LOSSES[name], (z,), order=1, modes=["rev"], eps=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_of_bfloat16_embeddings(name):
  z = jnp.asarray(normal(10, 16, 2, 4), jnp.bfloat16)
  assert LOSSES[name](z).dtype == jnp.float32


@pytest.mark.parametrize("name", ["barlow", "vicreg", "tico"])
def test_eight_devices_give_the_loss_of_one_and_exchange_moments_alone(name):
  z, mesh = jnp.asarray(normal(11, 32, 2, 24)), sharding.make_mesh()
  step = jax.jit(jax.value_and_grad(LOSSES[name]))
  loss, grad = step(z)
  spread = jax.device_put(z, sharding.by_rows(mesh))
  compiled = step.lower(spread).compile()
  loss8, grad8 = compiled(spread)
  assert_allclose(loss8, loss, rtol=1e-5)
  close(grad8, grad, 1e-5)
  moved = tiny.collectives(compiled)
  assert {kind for kind, _ in moved} == {"all-reduce"}
  if name != "tico":  # whose gradient sums a moment too
    assert sum(size >= 24 * 24 for _, size in moved) == 1


def test_w_mse_on_eight_devices_is_that_on_one_and_deals_embeddings_out_once():
  z, mesh = jnp.asarray(normal(12, 64, 2, 4)), sharding.make_mesh()
  step = jax.jit(
    jax.value_and_grad(lambda z: redundancy.w_mse(z, jnp.asarray(deals(64, 2)), 8))
  )
  loss, grad = step(z)
  spread = jax.device_put(z, sharding.by_rows(mesh))
  compiled = step.lower(spread).compile()
  loss8, grad8 = compiled(spread)
  assert_allclose(loss8, loss, rtol=1e-5)
  close(grad8, grad, 1e-5)
  [(kind, size)] = tiny.collectives(compiled)
  assert kind in ("all-gather", "all-reduce")
  assert size <= 2 * z.size  # of two deals
