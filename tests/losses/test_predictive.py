import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax.losses import predictive


def test_regression_is_two_minus_two_cosines():
  rng = np.random.default_rng(0)
  p, z = rng.normal(size=(2, 7, 5)).astype(np.float32)
  cosine = (p * z).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(z, axis=1)
  assert_allclose(predictive.regression(p, z), np.mean(2 - 2 * cosine), rtol=1e-5)


def test_regression_is_0_alike_2_at_right_angles_and_4_opposed():
  x = jnp.asarray([[3.0, 0.0]])
  for target, expected in [([1.0, 0.0], 0), ([0.0, 2.0], 2), ([-1.0, 0.0], 4)]:
    loss = predictive.regression(x, jnp.asarray([target]))
    assert_allclose(loss, expected, atol=1e-6)


def test_both_directions_summed_are_byols_official_loss_and_gradient():
  o = oracle("05_byol_loss_0")

  def loss_fn(p1, p2):
    first = predictive.regression(p1, o["in_z2"])
    return first + predictive.regression(p2, o["in_z1"])

  loss, grads = jax.value_and_grad(loss_fn, (0, 1))(o["in_p1"], o["in_p2"])
  assert_allclose(loss, o["out_repr_loss"], rtol=1e-6)
  for grad, expected in ((grads[0], o["out_grad_p1"]), (grads[1], o["out_grad_p2"])):
    assert_allclose(grad, expected, atol=1e-6 * np.abs(expected).max())


def test_negative_cosine_is_minus_one_alike_zero_at_right_angles_and_one_opposed():
  x = jnp.asarray([[3.0, 0.0]])
  for target, expected in [([1.0, 0.0], -1), ([0.0, 2.0], 0), ([-1.0, 0.0], 1)]:
    loss = predictive.negative_cosine(x, jnp.asarray([target]))
    assert_allclose(loss, expected, atol=1e-6)


def test_half_of_both_directions_is_simsiams_official_loss_and_gradient():
  o = oracle("05_simsiam_loss_0")

  def loss_fn(p1, p2):
    first = predictive.negative_cosine(p1, o["in_z2"])
    return (first + predictive.negative_cosine(p2, o["in_z1"])) / 2

  loss, grads = jax.value_and_grad(loss_fn, (0, 1))(o["in_p1"], o["in_p2"])
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  for grad, expected in ((grads[0], o["out_grad_p1"]), (grads[1], o["out_grad_p2"])):
    assert_allclose(grad, expected, atol=1e-6 * np.abs(expected).max())


def test_negative_cosine_is_simsiams_equation_1():
  p, z = np.random.default_rng(2).normal(size=(2, 7, 5)).astype(np.float32)
  cosines = [
    sum(a * b for a, b in zip(x, y, strict=True))
    / (sum(a * a for a in x) ** 0.5 * sum(b * b for b in y) ** 0.5)
    for x, y in zip(p.astype(float), z.astype(float), strict=True)
  ]
  loss = predictive.negative_cosine(p, z)
  assert_allclose(loss, -sum(cosines) / len(cosines), rtol=1e-5)


def test_a_zero_prediction_has_a_finite_gradient():
  grad = jax.grad(predictive.regression)(jnp.zeros((2, 3)), jnp.ones((2, 3)))
  assert np.isfinite(grad).all()


def test_the_gradient_is_finite_differences():
  p, z = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)

  def loss(p):
    return predictive.regression(p, z)

  check_grads(loss, (jnp.asarray(p),), order=1, modes=["rev"], eps=1e-2, atol=3e-3)
