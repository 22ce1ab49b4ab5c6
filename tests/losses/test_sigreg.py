import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.test_util import check_grads
from numpy.testing import assert_allclose

from ssljax import sharding
from ssljax.losses import sigreg


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


PAPERS, FINE = np.linspace(-5, 5, 17), np.linspace(-3, 3, 33)  # grids of t


def algorithm_1(z, directions, grid=PAPERS):
  """The paper's, one view, one direction and one t at a time, by complex numbers."""
  count, views, _ = z.shape
  total = 0.0
  for view in range(views):
    for a in directions:
      integrand = []
      for t in grid:
        empirical = sum(np.exp(1j * t * (a @ z[b, view])) for b in range(count)) / count
        gaussian = math.exp(-t * t / 2)
        integrand.append(abs(empirical - gaussian) ** 2 * gaussian)
      total += count * np.trapezoid(integrand, grid)
  return total / (views * len(directions))


def official(z, directions, knots=17, most=3.0):
  """The code's: cosines and sines on the positive half, weights that count it twice.

  Of lejepa eddffdd, read off `lejepa/univariate/epps_pulley.py`; views come first.
  """
  x = np.moveaxis(z, 1, 0) @ directions.T  # [V,B,M]
  t, dt = np.linspace(0, most, knots), most / (knots - 1)
  phi = np.exp(-0.5 * t**2)
  weights = np.full(knots, 2 * dt)
  weights[[0, -1]] = dt
  angles = x[..., None] * t
  error = (np.cos(angles).mean(-3) - phi) ** 2 + np.sin(angles).mean(-3) ** 2
  return ((error @ (weights * phi)) * z.shape[0]).mean()


def differences(function, z, step=1e-5):
  """The gradient [B,V,D] of a NumPy function, entry by entry."""
  grad = np.zeros_like(z)
  for at in np.ndindex(z.shape):
    move = np.zeros_like(z)
    move[at] = step
    grad[at] = (function(z + move) - function(z - move)) / (2 * step)
  return grad


def close(actual, expected, tolerance=1e-5):
  assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_sigreg_and_its_gradient_are_those_of_the_papers_algorithm():
  z, directions = 1.5 * normal(0, 5, 2, 3) + 0.3, unit(normal(1, 4, 3))
  loss_fn = lambda z: sigreg.sigreg(z, jnp.float32(directions), points=9, reach=5.0)  # noqa: E731
  loss, grad = jax.value_and_grad(loss_fn)(jnp.float32(z))
  assert_allclose(loss, algorithm_1(z, directions), rtol=1e-5)
  close(grad, differences(lambda z: algorithm_1(z, directions), z))


def test_sigreg_and_its_gradient_are_those_of_the_official_code():
  z, directions = 1.5 * normal(2, 16, 3, 6) + 0.3, unit(normal(3, 9, 6))
  grad_fn = jax.value_and_grad(sigreg.sigreg)
  loss, grad = grad_fn(jnp.float32(z), jnp.float32(directions))
  assert_allclose(loss, official(z, directions), rtol=1e-5)
  close(grad, differences(lambda z: official(z, directions), z))
  fine = algorithm_1(z, directions, FINE)
  assert_allclose(loss, fine, rtol=1e-5)


def gaussian_integral(k):
  """Of exp(-k t^2 / 2) from -3 to 3."""
  return math.sqrt(2 * math.pi / k) * math.erf(3 * math.sqrt(k / 2))


def test_of_embeddings_in_one_point_it_is_the_integral_times_the_batch():
  directions = jnp.float32(unit(normal(4, 5, 3)))
  # (1 - g)^2 g, which is g - 2 g^2 + g^3: 0.40 of each example.
  weight = gaussian_integral(1) - 2 * gaussian_integral(2) + gaussian_integral(3)
  loss = sigreg.sigreg(jnp.zeros((64, 2, 3)), directions)
  assert_allclose(loss, 64 * weight, rtol=1e-3)


def test_of_a_gaussian_it_is_what_chance_leaves_whatever_the_batch():
  # Of B samples the function is off by (1 - g^2) / B in the mean square.
  chance = gaussian_integral(1) - gaussian_integral(3)
  directions = jnp.float32(unit(normal(5, 64, 32)))
  for count, views in ((16, 512), (1024, 32)):
    z = jnp.float32(normal(6, count, views, 32))
    assert_allclose(sigreg.sigreg(z, directions), chance, rtol=0.05)


def test_of_the_gaussians_own_quantiles_it_is_nearly_nothing():
  count = 256
  z = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
  z = jnp.float32(z).reshape(count, 1, 1)
  assert sigreg.sigreg(z, jnp.ones((1, 1))) < 0.01
  assert sigreg.sigreg(2 * z, jnp.ones((1, 1))) > 10  # too wide
  assert sigreg.sigreg(z + 1, jnp.ones((1, 1))) > 10  # off the centre
  flat = jnp.sqrt(12.0) * (jnp.arange(count) / count - 0.5).reshape(count, 1, 1)
  assert sigreg.sigreg(flat, jnp.ones((1, 1))) > 0.5  # mean and variance alone are met


def test_more_views_of_the_same_embeddings_do_not_change_it():
  z, directions = jnp.float32(normal(7, 8, 1, 3)), jnp.float32(unit(normal(8, 4, 3)))
  once = sigreg.sigreg(z, directions)
  assert_allclose(sigreg.sigreg(jnp.repeat(z, 5, 1), directions), once, rtol=1e-6)


def distance(z, count):
  """Of all views from the mean of the first, by loops."""
  total = 0.0
  for views in z:
    centre = sum(views[:count]) / count
    for view in views:
      total += sum((x - c) ** 2 for x, c in zip(view, centre, strict=True))
  return total / z.size


@pytest.mark.parametrize("count", [1, 2, 5])
def test_invariance_and_its_gradient_are_those_of_the_papers_algorithm(count):
  z = normal(9, 4, 5, 3)
  loss, grad = jax.value_and_grad(sigreg.invariance)(jnp.float32(z), count)
  assert_allclose(loss, distance(z, count), rtol=1e-5)
  close(grad, differences(lambda z: distance(z, count), z))


def test_two_views_a_distance_apart_are_off_their_mean_by_half_of_it():
  z = jnp.asarray([[[1.0, 0.0], [5.0, 0.0]]])
  assert_allclose(sigreg.invariance(z, 2), 2 * 2.0**2 / 4)
  assert_allclose(sigreg.invariance(z, 1), 4.0**2 / 4)  # the first is the centre


DIRECTIONS = jnp.float32(unit(normal(10, 32, 24)))
LOSSES = {
  "sigreg": lambda z: sigreg.sigreg(z, DIRECTIONS),
  "invariance": lambda z: sigreg.invariance(z, 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name):
  z = jnp.float32(normal(11, 8, 3, 24))
  check_grads(LOSSES[name], (z,), order=1, modes=["rev"], eps=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_of_bfloat16_embeddings(name):
  z = jnp.asarray(normal(12, 8, 3, 24), jnp.bfloat16)
  loss = LOSSES[name](z)
  assert loss.dtype == jnp.float32
  assert_allclose(loss, LOSSES[name](z.astype(jnp.float32)))


def test_eight_devices_give_the_loss_of_one_and_exchange_means_alone():
  z, mesh = jnp.float32(normal(13, 64, 3, 24)), sharding.make_mesh()
  step = jax.jit(jax.value_and_grad(LOSSES["sigreg"]))
  loss, grad = step(z)
  spread = jax.device_put(z, sharding.by_rows(mesh))
  compiled = step.lower(spread).compile()
  loss8, grad8 = compiled(spread)
  assert_allclose(loss8, loss, rtol=1e-5)
  close(grad8, grad)
  moved = tiny.collectives(compiled)
  assert {kind for kind, _ in moved} == {"all-reduce"}
  assert max(size for _, size in moved) == 3 * 32 * 17  # [V,M,T]
