"""DirectPred: eq. 18 and 19 in NumPy, around BYOL's loss."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose

from ssljax import core

RNG = np.random.default_rng(0)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def equation_18(correlation, epsilon):
  values, vectors = np.linalg.eigh(np.float64(correlation))
  values = np.maximum(values, 0)
  return vectors @ np.diag(np.sqrt(values / values.max()) + epsilon) @ vectors.T


def test_the_predictor_shares_the_eigenvectors_of_the_correlation():
  method = tiny.parts("direct_pred").method
  x = RNG.normal(size=(40, 6)) * [3, 2, 1, 1, 0.5, 0.1]
  correlation = x.T @ x / 40
  predictor = method.predictor(jnp.float32(correlation))
  assert_allclose(predictor, equation_18(correlation, method.epsilon), atol=2e-5)
  flat = method.predictor(jnp.eye(4))
  assert_allclose(flat, (1 + method.epsilon) * np.eye(4), atol=1e-6)


def test_no_dimension_is_no_nan():
  method = tiny.parts("direct_pred").method
  assert np.isfinite(method.predictor(jnp.zeros((4, 4)))).all()


def test_loss_is_byols_after_the_predictor_and_the_correlation_an_average():
  built = tiny.parts("direct_pred")
  method, state = built.method, tiny.first_state(built)
  assert set(state.params) == {"encoder", "projector"}
  dim = len(state.target["correlation"])
  z, slow = RNG.normal(size=(2, 8, 2, dim))
  x = RNG.normal(size=(50, dim))
  correlation = x.T @ x / 50
  target = {**state.target, "correlation": jnp.float32(correlation)}
  state = state.replace(target=target)
  rows = {"projection": jnp.float32(z), "target": jnp.float32(slow)}
  loss, aux = method.objective(state.params, rows, state, {}, None)
  p = unit(z @ equation_18(correlation, method.epsilon))
  t = unit(slow)
  expected = 2 * (2 - (p[:, 0] * t[:, 1]).sum(1) - (p[:, 1] * t[:, 0]).sum(1)).mean()
  assert_allclose(loss, expected, rtol=1e-5)
  carry = {**aux.carry, "target_stats": state.target["batch_stats"]}
  _, after = method.after_update(state.params, state, carry)
  moment = np.einsum("bvd,bve->de", z, z) / 16
  mixed = method.rho * correlation + (1 - method.rho) * moment
  assert_allclose(after["correlation"], mixed, atol=1e-5)


def test_the_target_starts_as_a_copy():
  state = tiny.first_state(tiny.parts("direct_pred"))
  jax.tree.map(np.testing.assert_array_equal, state.params, state.target["params"])


def test_no_gradient_passes_the_predictor_s_making():
  built = tiny.parts("direct_pred")
  method, state = built.method, tiny.first_state(built)
  rng = core.step_keys(0, state.step)[1]
  rows = {
    name: jnp.float32(RNG.normal(size=(8, 2, len(state.target["correlation"]))))
    for name in ("projection", "target")
  }

  def loss(z):
    rest = state.replace(params=None)
    return method.objective(None, {**rows, "projection": z}, rest, {}, rng)[0]

  grad = jax.grad(loss)(rows["projection"])
  assert np.isfinite(grad).all()
  assert np.abs(grad).max() > 0
