"""SimDINO: the official terms, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from numpy.testing import assert_allclose

from ssljax import core
from ssljax.losses import spread

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(6, 5, 4)), RNG.normal(size=(6, 2, 4))
EPSILON = 0.05


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def official(student, teacher, coefficient=1.0, epsilon=EPSILON):
  """Rows [B,V,D], [B,2,D] -> the official loss of one process, in float64."""
  student, teacher = unit(student), unit(teacher)
  batch, views, dim = student.shape
  cosines = [
    (teacher[:, i] * student[:, j]).sum(1).mean()
    for i in range(2)
    for j in range(views)
    if i != j
  ]
  rates = []
  for i in range(2):
    moment = student[:, i].T @ student[:, i]
    _, log_det = np.linalg.slogdet(np.eye(dim) + dim / (batch * epsilon) * moment)
    rates.append(log_det / 2)
  gamma = (dim + batch) / (dim * batch)
  return -coefficient * np.mean(cosines) - gamma * np.mean(rates)


def loss(student, teacher):
  rate = spread.coding_rate(student[:, :2], EPSILON)
  gamma = (4 + 6) / (4 * 6)
  return -spread.agreement(student, teacher) - gamma * rate


def test_value_and_gradient_are_the_official_ones():
  value, grad = jax.value_and_grad(loss)(jnp.float32(STUDENT), jnp.float32(TEACHER))
  assert_allclose(value, official(STUDENT, TEACHER), rtol=1e-6)
  for at in ((0, 0, 0), (3, 1, 2), (5, 4, 3)):
    move = np.zeros_like(STUDENT)
    move[at] = 1e-6
    ahead, behind = (official(STUDENT + s * move, TEACHER) for s in (1, -1))
    assert_allclose(grad[at], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-7)


def test_the_rate_is_nothing_for_one_direction_but_of_its_length():
  """A collapsed batch has one eigenvalue, a spread one D of a D-th."""
  one = jnp.ones((16, 1, 4))
  assert_allclose(spread.coding_rate(one, 1.0), 0.5 * np.log(1 + 4), rtol=1e-5)
  even = jnp.eye(4)[jnp.arange(16) % 4][:, None]
  assert_allclose(spread.coding_rate(even, 1.0), 0.5 * 4 * np.log(2), rtol=1e-5)


def test_the_method_s_loss_is_that_of_its_rows():
  built = tiny.parts("simdino")
  method, state = built.method, tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  rest = state.replace(params=None)
  encoded = jax.jit(method.encode)(state.params, rest, batch, rng)
  rows = encoded.rows
  assert rows["student"].shape[:2] == (tiny.BATCH, 2 + batch["local"].shape[1])
  value, aux = method.objective(state.params, rows, rest, {}, rng)
  student, teacher = np.float64(rows["student"]), np.float64(rows["teacher"])
  numbers = method.agreement, method.epsilon
  assert_allclose(value, official(student, teacher, *numbers), rtol=1e-4)
  assert set(aux.metrics) == {"tau", "cosine", "coding_rate"}
  assert method.weights(state) is state.target


def smoothed(student, teacher, patches, slow_patches, mask):
  """The official loss of SimDINOv2 (`expa_type` 1, `CosinePatchLoss`), in float64."""
  both = (unit(student[:, :2]) + unit(teacher)) / 2
  batch, _, dim = both.shape
  rates = []
  for i in range(2):
    moment = both[:, i].T @ both[:, i]
    _, log_det = np.linalg.slogdet(np.eye(dim) + dim / (batch * EPSILON) * moment)
    rates.append(log_det / 2)
  gamma = (dim + batch) / (dim * batch)
  agree = official(student, teacher) + official(student, teacher, 0.0) * -1
  cosines = (unit(patches) * unit(slow_patches)).sum(-1) * mask
  hidden = (cosines.sum(-1) / np.maximum(mask.sum(-1), 1)).mean()
  return agree - gamma * np.mean(rates) - hidden


def test_hidden_patches_and_a_smoothed_rate_are_the_official_ones():
  rng = np.random.default_rng(1)
  patches, slow = rng.normal(size=(2, 6, 2, 9, 4))
  mask = rng.random((6, 2, 9)) < 0.4
  mask[2, 1], mask[4] = False, False

  def ours(student, patches):
    rate = spread.coding_rate(student[:, :2], EPSILON, jnp.float32(TEACHER))
    cosine = spread.agreement(student, jnp.float32(TEACHER))
    hidden = spread.hidden_agreement(patches, jnp.float32(slow), mask).mean()
    return -cosine - (4 + 6) / (4 * 6) * rate - hidden

  value, grads = jax.value_and_grad(ours, (0, 1))(
    jnp.float32(STUDENT), jnp.float32(patches)
  )
  expected = lambda s, p: smoothed(s, TEACHER, p, slow, mask)  # noqa: E731
  assert_allclose(value, expected(STUDENT, patches), rtol=1e-6)
  for which, at in ((0, (0, 0, 0)), (0, (3, 1, 2)), (0, (5, 4, 3)), (1, (0, 1, 3, 2))):
    moves = [np.zeros_like(STUDENT), np.zeros_like(patches)]
    moves[which][at] = 1e-6
    ahead, behind = (
      expected(STUDENT + s * moves[0], patches + s * moves[1]) for s in (1, -1)
    )
    slope = (ahead - behind) / 2e-6
    assert_allclose(grads[which][at], slope, rtol=1e-4, atol=1e-7)
  assert not np.any(grads[1][4])  # hides nothing


def test_the_second_version_adds_the_agreement_of_what_the_student_did_not_see():
  built = tiny.parts("simdinov2")
  method, state = built.method, tiny.first_state(built)
  rng_views, rng = core.step_keys(0, state.step)
  batch = built.views(rng_views, tiny.batch())
  rest = state.replace(params=None)
  rows = jax.jit(method.encode)(state.params, rest, batch, rng).rows
  value, aux = method.objective(state.params, rows, rest, {}, rng)
  student, teacher = np.float64(rows["student"]), np.float64(rows["teacher"])
  nothing = np.ones((len(student), 2, 1, 2))
  expected = smoothed(student, teacher, nothing, nothing, 0 * nothing[..., 0])
  expected -= method.patch_weight * np.float64(rows["patch_cosine"]).mean()
  assert_allclose(value, expected, rtol=1e-4)
  assert aux.metrics["patch_cosine"] == rows["patch_cosine"].mean()
  assert 0 < aux.metrics["hidden"] < 0.5
  seen = {**batch, "mask": np.zeros_like(batch["mask"])}
  rows = jax.jit(method.encode)(state.params, rest, seen, rng).rows
  assert not np.any(rows["patch_cosine"])
