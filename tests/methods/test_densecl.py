"""DenseCL: the official losses in NumPy, and two queues that are filled alike."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core
from ssljax.losses import contrastive

RNG = np.random.default_rng(0)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def official(query, key, matches, queue, temperature):
  """The official forward's loss of cells, for arrays [B,N,D] in float64."""
  losses = []
  for q, k, match in zip(query, key, matches, strict=True):
    matched = unit(k)[match]
    positive = (unit(q) * matched).sum(1, keepdims=True)
    logits = np.concatenate([positive, unit(q) @ queue.T], 1) / temperature
    losses.append(np.log(np.exp(logits).sum(1)) - logits[:, 0])
  return np.mean(losses)


def test_cells_are_matched_by_the_direction_of_their_features():
  backbone, key_backbone = RNG.normal(size=(2, 3, 4, 6))
  matches = contrastive.most_alike(jnp.float32(backbone), jnp.float32(key_backbone))
  cosines = unit(backbone) @ unit(key_backbone).swapaxes(1, 2)
  assert_array_equal(matches, cosines.argmax(2))


def test_value_and_gradient_of_cells_are_the_official_ones():
  query, key = RNG.normal(size=(2, 3, 4, 5))
  matches, queue = RNG.integers(0, 4, (3, 4)), unit(RNG.normal(size=(7, 5)))

  def loss(query):
    arrays = jnp.float32(query), jnp.float32(key), matches, jnp.float32(queue)
    return contrastive.dense_info_nce(*arrays, 0.2).mean()

  value, grad = jax.value_and_grad(loss)(jnp.float32(query))
  expected = official(query, key, matches, queue, 0.2)
  assert_allclose(value, expected, rtol=1e-6)
  for at in ((0, 0, 0), (1, 2, 3), (2, 3, 4)):
    move = np.zeros_like(query)
    move[at] = 1e-5
    ahead, behind = (
      official(query + s * move, key, matches, queue, 0.2) for s in (1, -1)
    )
    assert_allclose(grad[at], (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-7)


def test_a_step_weighs_both_losses_and_fills_both_queues():
  built = tiny.parts("densecl")
  method, state = built.method, tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = jax.jit(built.views)(rng_views, tiny.batch())
  rest = state.replace(params=None)
  loss, aux = jax.jit(method.loss_fn)(state.params, rest, batch, rng)
  whole, dense = aux.metrics["whole_loss"], aux.metrics["dense_loss"]
  assert_allclose(loss, 0.5 * whole + 0.5 * dense, rtol=1e-6)

  x = {"image": batch["image"][:, 0]}
  online = method.forward(state.params, state.batch_stats, x)[0]
  slow = method.key_outputs(state.target, {"image": batch["image"][:, 1]}, rng)[0]
  flat = lambda x: np.float64(x).reshape(len(x), -1, x.shape[-1])  # noqa: E731
  cells, backbones = (
    [flat(o[k]) for o in (online, slow)] for k in ("dense_projection", "map")
  )
  matches = contrastive.most_alike(*map(jnp.float32, backbones))
  queue = np.float64(state.target["dense_queue"])
  expected = official(*cells, matches, queue, method.temperature)
  assert_allclose(dense, expected, rtol=1e-4)

  _, target = method.after_update(state.params, rest, aux.carry)
  keys = unit(flat(slow["dense_projection"]).mean(1))
  assert_allclose(target["dense_queue"][: tiny.BATCH], keys, atol=1e-5)
  assert target["pointer"] == tiny.BATCH % method.queue_size
