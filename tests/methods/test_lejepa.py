"""LeJEPA: algorithm 2 in NumPy, around a network that is the identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from ssljax import core
from ssljax.methods.lejepa import LeJEPA

B, D = 6, 4
NET, PARAMS = tiny.linear(D)
METHOD = LeJEPA(NET, weight=0.3, slices=8)
STATE = core.TrainState(np.int32(0), None, {}, {}, None)


def views(seed, count):
  x = np.random.default_rng(seed).normal(size=(B, count, D))
  return 1.5 * x + 0.2


def algorithm_2(z, count, directions, weight):
  """Embeddings [B,V,D] of which the first `count` are of global views -> its loss."""
  centre = z[:, :count].mean(1)
  agreement = np.mean([((z[:, v] - centre) ** 2).mean() for v in range(z.shape[1])])
  t = np.linspace(-3, 3, 33)
  gaussian = np.exp(-(t**2) / 2)
  statistics = []
  for v in range(z.shape[1]):
    for a in directions:
      empirical = np.exp(1j * np.outer(z[:, v] @ a, t)).mean(0)
      error = np.abs(empirical - gaussian) ** 2 * gaussian
      statistics.append(len(z) * np.trapezoid(error, t))
  return (1 - weight) * agreement + weight * np.mean(statistics)


def drawn(method, batch, rng):
  """The directions of a step, as `objective` asks for them."""
  asked = []

  class Spy(LeJEPA):
    def directions(self, rng, dim):
      asked.append(np.asarray(super().directions(rng, dim)))
      return asked[-1]

  Spy(**vars(method)).loss_fn(PARAMS, STATE, batch, rng)
  (directions,) = asked
  return directions


@pytest.mark.parametrize(("wide", "narrow"), [(2, 3), (2, 0), (4, 0)])
def test_loss_and_gradient_are_those_of_the_papers_algorithm(wide, narrow):
  z, rng = views(0, wide + narrow), jax.random.key(0)
  batch = {"image": jnp.float32(z[:, :wide])}
  if narrow:
    batch["local"] = jnp.float32(z[:, wide:])
  directions = drawn(METHOD, batch, rng)
  loss_fn = lambda z: algorithm_2(z, wide, directions, 0.3)  # noqa: E731
  grad_fn = jax.jit(jax.value_and_grad(METHOD.loss_fn, has_aux=True))
  (loss, aux), grads = grad_fn(PARAMS, STATE, batch, rng)
  assert_allclose(loss, loss_fn(z), rtol=1e-5)
  assert_allclose(aux.outputs["projection"], z, rtol=1e-6)
  assert_allclose(aux.outputs["features"], z[:, :wide], rtol=1e-6)
  terms = 0.7 * aux.metrics["invariance"] + 0.3 * aux.metrics["sigreg"]
  assert_allclose(loss, terms, rtol=1e-6)

  expected = np.zeros((D, D))  # by the kernel, which is the identity
  for at in np.ndindex(D, D):
    move = np.zeros((D, D))
    move[at] = 1e-5
    ahead, behind = loss_fn(z + z @ move), loss_fn(z - z @ move)
    expected[at] = (ahead - behind) / 2e-5
  kernel = grads["projector"]["fc1"]["kernel"]
  assert_allclose(kernel, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_directions_are_of_length_one_and_of_every_way():
  directions = METHOD.directions(jax.random.key(0), D)
  assert directions.shape == (8, D)
  assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
  many = LeJEPA(NET, weight=0.3, slices=20_000).directions(jax.random.key(1), D)
  assert_allclose(many.mean(0), 0, atol=0.02)
  assert_allclose(many.T @ many / len(many), np.eye(D) / D, atol=0.02)


def test_directions_are_new_at_every_step_and_the_same_for_any_batch():
  one, other = ({"image": jnp.float32(views(seed, 2))} for seed in (1, 2))
  key = lambda step: core.step_keys(0, step)[1]  # noqa: E731
  first = drawn(METHOD, one, key(3))
  assert (drawn(METHOD, other, key(3)) == first).all()
  assert np.abs(drawn(METHOD, one, key(4)) - first).max() > 0.1


def test_views_of_both_resolutions_share_the_projectors_batch_norm():
  """As all of a batch pass the official projector at once."""
  built = tiny.parts("lejepa")
  batch = built.views(jax.random.key(0), tiny.batch())
  assert batch["image"].shape[1:3] == (2, tiny.SIZE)
  assert batch["local"].shape[1] == 2
  state = jax.tree.map(jnp.asarray, tiny.first_state(built))
  rest = state.replace(params=None)
  encoded = built.method.encode(state.params, rest, batch, jax.random.key(1))
  assert encoded.rows["projection"].shape[:2] == (tiny.BATCH, 4)
  assert encoded.rows["features"].shape[:2] == (tiny.BATCH, 2)
  fc1 = jax.tree.map(np.asarray, state.params["projector"]["fc1"])
  encoder = {
    "params": state.params["encoder"],
    "batch_stats": state.batch_stats["encoder"],
  }
  means = []
  for crops in (batch["image"], batch["local"]):
    x = {"image": crops.reshape(-1, *crops.shape[2:])}
    net, stats = built.method.net.encoder, ["batch_stats"]
    outputs, _ = net.apply(encoder, x, train=True, mutable=stats)
    hidden = np.asarray(outputs["features"]) @ fc1["kernel"] + fc1["bias"]
    means.append(hidden.mean(0))
  moved = encoded.batch_stats["projector"]["bn1"]["mean"]
  assert_allclose(moved, 0.1 * np.mean(means, 0), atol=1e-5)  # from 0
