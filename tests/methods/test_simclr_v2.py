import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose

from ssljax import core, optim
from ssljax.methods.simclr_v2 import SimCLRV2

B, DIM, K, TEMPERATURE, MOMENTUM = 4, 5, 16, 0.5, 0.9


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def two_views(seed):
  return np.random.default_rng(seed).normal(size=(B, 2, DIM)).astype(np.float32)


def loss_equation(query, key, queue):
  """Twice the mean over anchors, one after the other, without any matrix."""
  total = 0.0
  for b, v in np.ndindex(B, 2):
    positive = np.exp(query[b, v] @ key[b, 1 - v] / TEMPERATURE)
    negatives = [
      np.exp(query[b, v] @ row / TEMPERATURE)
      for row in (*np.delete(key, b, 0).reshape(-1, DIM), *queue)
    ]
    total -= np.log(positive / (positive + sum(negatives)))
  return total / B


def test_three_steps_are_those_of_the_description():
  net, params = tiny.linear(DIM)
  method = SimCLRV2(net, TEMPERATURE, MOMENTUM, queue_size=K)
  tx = optim.build({"name": "sgd", "learning_rate": 0.1}, tiny.PLAN)
  state = core.init_state(method, tx, lambda rng, b: b, 0, {"image": two_views(0)})
  assert state.target["queue"].shape == (K, DIM)
  assert_allclose(np.linalg.norm(state.target["queue"], axis=1), 1, rtol=1e-6)
  slow = state.target["params"]
  state = state.replace(params=jax.tree.map(jnp.asarray, params))
  step = jax.jit(
    lambda state, b: core.train_step(method, tx, lambda rng, b: b, 0, state, b)
  )
  queue = np.asarray(state.target["queue"], np.float64)
  for i in range(3):  # the third overwrites what the first has left
    views = two_views(i + 1)
    query, key = (
      unit(net.apply({"params": p}, {"image": views}, False)["projection"])
      for p in (state.params, slow)
    )
    state, metrics = step(state, {"image": views})
    assert_allclose(metrics["loss"], loss_equation(query, key, queue), rtol=1e-5)
    row = 2 * B * i % K
    queue[row : row + 2 * B] = key.reshape(-1, DIM)
    assert_allclose(state.target["queue"], queue, atol=1e-6)
    assert state.target["pointer"] == (row + 2 * B) % K
    slow = jax.tree.map(
      lambda old, new: MOMENTUM * old + (1 - MOMENTUM) * new, slow, state.params
    )
    jax.tree.map(
      lambda x, y: assert_allclose(x, y, atol=1e-6), state.target["params"], slow
    )
