import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import core
from ssljax.methods.tico import TiCo


def test_every_step_has_the_references_loss_gradient_and_covariance():
  o = oracle("12_lightly_tico_0")
  net, params = tiny.linear(6)
  method = TiCo(net, float(o["hp_rho"]), float(o["hp_beta"]), lambda step: 0.9)
  target = {"params": params, "batch_stats": {}, "covariance": jnp.zeros((6, 6))}
  state = core.TrainState(jnp.int32(0), None, {}, target, None)
  grad_fn = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
  for i, views in enumerate(np.stack([o["in_a"], o["in_b"]], 2)):
    (loss, aux), grads = grad_fn(params, state, {"image": views}, jax.random.key(0))
    assert_allclose(loss, o["out_loss"][i], rtol=2e-6)
    expected = o["in_a"][i].T @ o["out_grad_a"][i]  # none by the slow copy
    kernel = grads["projector"]["fc1"]["kernel"]
    assert_allclose(kernel, expected, atol=3e-6 * np.abs(expected).max())
    target = method.after_update(params, state, aux.carry)[1]
    assert_allclose(target["covariance"], o["out_C"][i], atol=1e-6)
    state = state.replace(target=target)


def test_the_gradient_may_pass_through_the_batchs_part_of_the_covariance():
  """By differences of algorithm 1's loss in NumPy, in which C moves with z."""
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 8, 6))
  old, rho, beta = np.cov(rng.normal(size=(6, 20))), 8.0, 0.9

  def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)

  def loss(a):
    z, c = unit(a), beta * old + (1 - beta) * unit(a).T @ unit(a) / len(a)
    return 1 - (z * unit(b)).sum(1).mean() + rho * ((z @ c) * z).sum(1).mean()

  by_a = np.zeros_like(a)
  for at in np.ndindex(a.shape):
    step = np.zeros_like(a)
    step[at] = 1e-5
    by_a[at] = (loss(a + step) - loss(a - step)) / 2e-5
  net, params = tiny.linear(6)
  method = TiCo(net, rho, beta, lambda step: 0.9, covariance_gradient=True)
  target = {"params": params, "batch_stats": {}, "covariance": jnp.float32(old)}
  state = core.TrainState(jnp.int32(0), None, {}, target, None)
  batch = {"image": np.float32(np.stack([a, b], 1))}
  grads = jax.grad(method.loss_fn, has_aux=True)(
    params, state, batch, jax.random.key(0)
  )[0]
  expected = a.T @ by_a
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, atol=1e-5 * np.abs(expected).max())


def test_the_slow_copy_moves_towards_the_new_weights_by_tau_of_the_step():
  net, params = tiny.linear(2)
  method = TiCo(net, 8.0, 0.9, lambda step: 0.5 + 0.25 * step)
  target = {"params": params, "batch_stats": {}, "covariance": jnp.zeros((2, 2))}
  state = core.TrainState(jnp.float32(1), None, {}, target, None)
  new = jax.tree.map(lambda x: x + 4.0, params)
  carry = {"target_stats": {}, "covariance": jnp.ones((2, 2))}
  _, moved = method.after_update(new, state, carry)
  expected = jax.tree.map(lambda x: x + 1.0, params)  # 4 (1 - 0.75)
  jax.tree.map(assert_allclose, moved["params"], expected)
  assert_allclose(moved["covariance"], 1)
