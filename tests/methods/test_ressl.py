"""ReSSL: the official loss, in NumPy, on MoCo's state."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose

from ssljax import augment, core
from ssljax.losses import clustering

RNG = np.random.default_rng(0)
QUERY, KEY, QUEUE = (RNG.normal(size=(n, 5)) for n in (6, 6, 9))


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def official(query, key, queue, temperature, key_temperature):
  """The official loss, in float64."""
  logits = unit(query) @ queue.T / temperature
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  target = np.exp(unit(key) @ queue.T / key_temperature)
  target /= target.sum(1, keepdims=True)
  return -(target * log_p).sum(1).mean()


def test_value_and_gradient_are_the_official_ones():
  queue = unit(QUEUE)

  def loss(query, key):
    return clustering.relation(query, key, jnp.float32(queue), 0.1, 0.04)

  value, (grad, none) = jax.value_and_grad(loss, (0, 1))(
    jnp.float32(QUERY), jnp.float32(KEY)
  )
  assert_allclose(value, official(QUERY, KEY, queue, 0.1, 0.04), rtol=1e-5)
  assert not np.any(none)
  for at in ((0, 0), (3, 2), (5, 4)):
    move = np.zeros_like(QUERY)
    move[at] = 1e-6
    ahead, behind = (official(QUERY + s * move, KEY, queue, 0.1, 0.04) for s in (1, -1))
    assert_allclose(grad[at], (ahead - behind) / 2e-6, rtol=2e-4, atol=1e-6)


def test_the_student_sees_the_strong_view_and_the_teacher_the_weak_one():
  built = tiny.parts("ressl")
  method, state = built.method, tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = jax.jit(built.views)(rng_views, tiny.batch())
  rest = state.replace(params=None)
  loss, aux = jax.jit(method.loss_fn)(state.params, rest, batch, rng)
  strong, weak = ({"image": batch["image"][:, i]} for i in (0, 1))
  query = method.forward(state.params, state.batch_stats, strong)[0]["projection"]
  key = method.key_pass(state.target, weak, rng)[0]
  queue = np.float64(state.target["queue"])
  temperatures = method.temperature, method.key_temperature
  expected = official(np.float64(query), np.float64(key), queue, *temperatures)
  assert_allclose(loss, expected, rtol=1e-4)
  _, target = method.after_update(state.params, rest, aux.carry)
  assert_allclose(target["queue"][: tiny.BATCH], key, atol=1e-5)
  views = augment.RECIPES["ressl"].views
  assert [view.jitter_p for view in views] == [0.8, 0.0]
