import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax import sharding
from ssljax.losses import paired, pairwise

pytestmark = pytest.mark.usefixtures("both_forms")


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, expected, tolerance=2e-6):
  """Within a share of the largest expected entry."""
  assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def tangent(x, gradient):
  """The part of a gradient that moves unit rows x along the sphere."""
  return gradient - (gradient * x).sum(-1, keepdims=True) * x


def clip(*args):
  return paired.clip(*args)[0]


def siglip(*args):
  return paired.siglip(*args)[0]


def test_clip_has_the_official_value_and_gradients():
  o = oracle("11_clip_0")

  def loss_fn(image, text, log_scale):
    return clip(image, text, jnp.exp(log_scale))

  start = jnp.float32(o["hp_log_scale"])
  step = jax.value_and_grad(loss_fn, (0, 1, 2))
  loss, grads = step(o["in_image"], o["in_text"], start)
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grads[0], tangent(o["in_image"], o["out_grad_image"]))
  close(grads[1], tangent(o["in_text"], o["out_grad_text"]))
  assert_allclose(grads[2], o["out_grad_log_scale"], rtol=1e-5)


def test_siglip_has_the_official_value_and_gradients():
  o = oracle("11_siglip_0")

  def loss_fn(image, text, log_scale, bias):
    return siglip(image, text, jnp.exp(log_scale), bias)

  start, bias = jnp.float32(o["hp_log_scale"]), jnp.float32(o["hp_logit_bias"])
  step = jax.value_and_grad(loss_fn, (0, 1, 2, 3))
  loss, grads = step(o["in_image"], o["in_text"], start, bias)
  assert_allclose(loss, o["out_loss"], rtol=1e-6)
  close(grads[0], tangent(o["in_image"], o["out_grad_image"]))
  close(grads[1], tangent(o["in_text"], o["out_grad_text"]))
  assert_allclose(grads[2], o["out_grad_log_scale"], rtol=1e-5)
  assert_allclose(grads[3], o["out_grad_bias"], rtol=1e-5)


def test_clip_is_figure_3_one_pair_at_a_time():
  image, text, total = normal(0, 5, 4), normal(1, 5, 4), []
  i, t = unit(image.astype(np.float64)), unit(text.astype(np.float64))
  for n in range(5):
    texts = [np.exp(7 * i[n] @ other) for other in t]
    images = [np.exp(7 * other @ t[n]) for other in i]
    total.append(-np.log(texts[n] / sum(texts)) / 2)
    total.append(-np.log(images[n] / sum(images)) / 2)
  loss = clip(3 * image, text, jnp.float32(7))
  assert_allclose(loss, np.sum(total) / 5, rtol=1e-5)


def test_siglip_is_equation_1_one_pair_at_a_time():
  image, text, total = normal(0, 5, 4), normal(1, 5, 4), 0
  i, t = unit(image.astype(np.float64)), unit(text.astype(np.float64))
  for n, m in np.ndindex(5, 5):
    z = 1 if n == m else -1
    total -= np.log(1 / (1 + np.exp(z * (-7 * i[n] @ t[m] + 2))))
  loss = siglip(image, 3 * text, jnp.float32(7), jnp.float32(-2))
  assert_allclose(loss, total / 5, rtol=1e-5)


def test_clip_of_orthogonal_pairs_is_log_of_one_plus_two_over_e():
  eye = jnp.eye(3)
  loss = clip(2 * eye, 5 * eye, jnp.float32(1))
  assert_allclose(loss, np.log(1 + 2 * np.exp(-1)), rtol=1e-6)


def test_siglip_of_pairs_that_say_nothing_is_b_log_2():
  image, text = jnp.eye(6)[:3], jnp.eye(6)[3:]
  loss = siglip(image, text, jnp.float32(4), jnp.float32(0))
  assert_allclose(loss, 3 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("loss", [clip, siglip])
def test_gradients_are_finite_differences(loss):
  scalars = (jnp.float32(3), jnp.float32(-1))[: 2 if loss is siglip else 1]
  args = (normal(2, 4, 3), normal(3, 4, 3), *scalars)
  check_grads(loss, args, 1, ("rev",), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("loss", [clip, siglip])
def test_losses_are_float32_and_finite_where_a_tower_is_dead(loss):
  scalars = (jnp.float32(100), jnp.float32(-10))[: 2 if loss is siglip else 1]
  image = jnp.zeros((4, 3), jnp.bfloat16)
  value, grad = jax.value_and_grad(loss)(image, jnp.asarray(normal(0, 4, 3)), *scalars)
  assert value.dtype == jnp.float32
  assert np.isfinite(grad).all()


@pytest.mark.parametrize("loss", [paired.clip, paired.siglip])
def test_matched_are_pictures_whose_own_text_is_nearest_or_equal_to_the_nearest(loss):
  scalars = (jnp.float32(3), jnp.float32(-1))[: 2 if loss is paired.siglip else 1]
  image = jnp.asarray([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [1.0, -1.0]])
  text = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0], [-1.0, 1.0]])
  assert_allclose(loss(image, text, *scalars)[1], 0.75)


def test_clip_of_eight_devices_is_that_of_one_with_one_gather(both_forms, monkeypatch):
  if both_forms:
    monkeypatch.setattr(pairwise, "columns_at_once", lambda n, m: m // 8)
  image, text = (jnp.asarray(normal(s, 16, 8)) for s in (4, 5))
  step = jax.jit(jax.value_and_grad(clip, (0, 1)))
  loss, grads = step(image, text, jnp.float32(10))
  spread = jax.device_put((image, text), sharding.by_rows(sharding.make_mesh()))
  compiled = step.lower(*spread, jnp.float32(10)).compile()
  loss8, grads8 = compiled(*spread, jnp.float32(10))
  assert_allclose(loss8, loss, rtol=1e-6)
  jax.tree.map(close, grads8, grads)
  hlo = compiled.as_text()
  gathers = hlo.count(" all-gather(")
  # In tiles rows are gathered again for the gradient, and so is what belongs to them.
  assert gathers <= 4 if both_forms else gathers == 1
  for word in ("all-to-all", "collective-permute", "reduce-scatter"):
    assert f" {word}(" not in hlo
