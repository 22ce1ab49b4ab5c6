"""VICRegL: matches by place and by likeness, and the official loss of cells."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose, assert_array_equal

from ssljax import core
from ssljax.losses import redundancy
from ssljax.methods import vicregl

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 7, 3, 4))
WEIGHTS = 25.0, 25.0, 1.0


def official(x, y, invariance, variance, covariance):
  """The official `_vicreg_loss` of cells [B,N,D] of one process, in float64."""
  loss = invariance * ((x - y) ** 2).mean()
  for z in (x, y):
    z = z - z.mean(0)
    deviation = np.sqrt(z.var(0, ddof=1) + 1e-4)
    loss += variance * np.maximum(0, 1 - deviation).mean() / 2
    for n in range(z.shape[1]):
      moment = z[:, n].T @ z[:, n] / (len(z) - 1)
      off = moment - np.diag(np.diag(moment))
      loss += covariance * (off**2).sum() / len(moment) / 2 / z.shape[1]
  return loss


def test_value_and_gradient_of_cells_are_the_official_ones():
  loss = lambda x, y: redundancy.vicreg_of_cells(x, y, *WEIGHTS)  # noqa: E731
  value, grad = jax.value_and_grad(loss)(jnp.float32(X), jnp.float32(Y))
  assert_allclose(value, official(X, Y, *WEIGHTS), rtol=1e-6)
  for at in ((0, 0, 0), (3, 1, 2), (6, 2, 3)):
    move = np.zeros_like(X)
    move[at] = 1e-6
    ahead, behind = (official(X + s * move, Y, *WEIGHTS) for s in (1, -1))
    assert_allclose(grad[at], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-5)


def official_whole(z, invariance, variance, covariance):
  """The official `global_loss` of two views z [B,2,D], in float64."""
  loss = invariance * ((z[:, 0] - z[:, 1]) ** 2).mean()
  z = z - z.mean(0)
  for view in (z[:, 0], z[:, 1]):
    deviation = np.sqrt(view.var(0, ddof=1) + 1e-4)
    loss += variance * np.maximum(0, 1 - deviation).mean() / 2
    moment = view.T @ view / (len(z) - 1)
    off = moment - np.diag(np.diag(moment))
    loss += covariance * (off**2).sum() / len(moment) / 2
  return loss


def test_cells_are_matched_with_their_nearest_and_the_nearest_pairs_count():
  x = jnp.float32([[[0.0], [10.0], [20.0], [31.0]]])
  y = jnp.float32([[[19.5], [0.2], [12.0], [50.0]]])
  chosen, other = vicregl.matched(x, y, 2)
  assert chosen.tolist() == [[0, 2]]
  assert other.tolist() == [[1, 0]]
  everything = vicregl.matched(x, y, 4)
  assert everything[1].tolist() == [[1, 2, 0, 0]]


def test_centres_of_cells_lie_where_the_view_does():
  place = jnp.float32([[0.2, 0.4, 0.5, 0.3, 0.0], [0.2, 0.4, 0.5, 0.3, 1.0]])
  straight, mirrored = np.asarray(vicregl.centres(place, 2, 3))
  assert_allclose(straight[0], [0.2 + 0.125, 0.4 + 0.05], rtol=1e-6)
  assert_allclose(straight[5], [0.2 + 0.375, 0.4 + 0.25], rtol=1e-6)
  assert_allclose(mirrored.reshape(2, 3, 2)[:, ::-1].reshape(6, 2), straight, rtol=1e-6)


def test_the_whole_picture_seen_twice_is_matched_cell_by_cell():
  place = jnp.broadcast_to(jnp.float32([0, 0, 1, 1, 0]), (2, 2, 5))
  places = vicregl.centres(place, 4, 4)
  chosen, other = vicregl.matched(places[:, 0], places[:, 1], 16)
  assert_array_equal(chosen, other)


def test_the_method_weighs_pictures_and_cells():
  built = tiny.parts("vicregl")
  method, state = built.method, tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  rest = state.replace(params=None)
  rows = jax.jit(method.encode)(state.params, rest, batch, rng).rows
  loss, aux = method.objective(state.params, rows, rest, {}, rng)
  cells, places = np.float64(rows["cells"]), np.float64(rows["places"])
  count = min(method.matches, cells.shape[2])
  expected = {"by_place": [], "by_likeness": []}
  for i, j in ((0, 1), (1, 0)):
    for name, by, number in (
      ("by_place", places, count),
      ("by_likeness", cells, cells.shape[2]),
    ):
      x, y = [], []
      for b in range(len(cells)):
        distance = ((by[b, i][:, None] - by[b, j][None]) ** 2).sum(-1)
        best = np.sort(np.argsort(distance.min(1), kind="stable")[:number])
        x.append(cells[b, i][best])
        y.append(cells[b, j][distance.argmin(1)[best]])
      weights = method.invariance, method.variance, method.covariance
      expected[name].append(official(np.array(x), np.array(y), *weights) / 2)
  weights = method.invariance, method.variance, method.covariance
  whole = official_whole(np.float64(rows["projection"]), *weights)
  assert_allclose(aux.metrics["global"], whole, rtol=1e-5)
  for name, parts in expected.items():
    assert_allclose(aux.metrics[name], sum(parts), rtol=2e-3)
  local = aux.metrics["by_place"] + aux.metrics["by_likeness"]
  weight = method.global_weight
  assert_allclose(
    loss, weight * aux.metrics["global"] + (1 - weight) * local, rtol=1e-6
  )
