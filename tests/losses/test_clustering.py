import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import memory
from ssljax.losses import clustering


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_dino_is_the_mean_cross_entropy_over_pairs_of_different_crops():
  student, teacher, centre = normal(0, 3, 5, 7), normal(1, 3, 2, 7), normal(2, 1, 7)
  p = softmax((teacher.astype(np.float64) - centre) / 0.04)
  q = softmax(student.astype(np.float64) / 0.1)
  pairs = [
    -(p[:, g] * np.log(q[:, v])).sum(1).mean()
    for g in range(2)
    for v in range(5)
    if g != v
  ]
  loss = clustering.dino(student, teacher, centre, 0.1, 0.04)
  assert_allclose(loss, np.mean(pairs), rtol=1e-5)


def test_dino_of_an_undecided_student_is_log_k():
  loss = clustering.dino(
    jnp.zeros((2, 3, 8)), jnp.asarray(normal(0, 2, 2, 8)), jnp.zeros((1, 8)), 0.1, 0.04
  )
  assert_allclose(loss, np.log(8), rtol=1e-6)


def test_dino_gives_the_official_losses_gradients_and_centres():
  o = oracle("07_dino_loss_0")
  steps, crops, k = len(o["out_loss"]), int(o["hp_ncrops"]), int(o["hp_out_dim"])

  def views(x, n):
    return x.reshape(n, -1, k).swapaxes(0, 1)  # the official rows go crop by crop

  centre = o["in_center"]
  loss_fn = jax.jit(jax.value_and_grad(clustering.dino))
  for i in range(steps):
    teacher = views(o["in_teacher"][i], 2)
    loss, grad = loss_fn(
      views(o["in_student"][i], crops),
      teacher,
      centre,
      float(o["hp_student_temp"]),
      float(o["out_teacher_temp_schedule"][i]),
    )
    centre = memory.move_centre(
      centre, teacher.mean((0, 1))[None], float(o["hp_center_momentum"])
    )
    expected = views(o["out_grad_student"][i], crops)
    assert_allclose(loss, o["out_loss"][i], rtol=1e-6)
    assert_allclose(grad, expected, atol=2e-6 * np.abs(expected).max())
    assert_allclose(centre, o["out_center"][i], atol=1e-6)


def test_the_gradient_is_finite_differences():
  teacher, centre = normal(1, 3, 2, 4), normal(2, 1, 4)

  def loss(student):
    return clustering.dino(student, teacher, centre, 0.5, 0.2)

  student = jnp.asarray(normal(0, 3, 4, 4))
  check_grads(loss, (student,), order=1, modes=["rev"], eps=1e-2, atol=3e-3)


def test_entropy_is_one_when_even_and_zero_when_certain():
  centre = jnp.zeros((1, 4))
  even = clustering.entropy(jnp.zeros((3, 2, 4)), centre, 0.04)
  certain = clustering.entropy(jnp.full((3, 2, 4), 9.0).at[..., 0].set(99.0), centre, 1)
  two = jnp.asarray([50.0, 50.0, 0.0, 0.0])
  half = clustering.entropy(jnp.tile(two, (3, 2, 1)), centre, 1.0)
  assert_allclose([even, half, certain], [1.0, 0.5, 0.0], atol=1e-6)
