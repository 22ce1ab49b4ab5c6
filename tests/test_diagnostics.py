import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax import diagnostics, sharding


def normal(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def by_definition(z):
  """Every pair and the whole covariance, the slow way."""
  z = z.astype(np.float64) / np.linalg.norm(z, axis=-1, keepdims=True)
  batch, views, dim = z.shape
  rows, example = z.reshape(-1, dim), np.repeat(np.arange(batch), views)
  cosine, same = rows @ rows.T, example[:, None] == example[None]
  eigenvalues = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
  return {
    "embedding_std": np.sqrt(rows.var(0).sum()),
    "effective_rank": eigenvalues.sum() ** 2 / (eigenvalues**2).sum(),
    "negative_similarity": cosine[~same].mean(),
    "positive_similarity": cosine[same & ~np.eye(len(rows), dtype=bool)].mean(),
  }


def check(metrics, expected):
  assert metrics.keys() == expected.keys()
  for name, value in expected.items():
    assert_allclose(metrics[name], value, atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_spread_is_what_all_pairs_and_the_covariance_say(offset):
  z = normal(12, 3, 5) + np.float32(offset)
  check(diagnostics.spread(jnp.asarray(z)), by_definition(z))


def test_the_order_of_examples_and_the_number_of_devices_do_not_matter():
  z = normal(16, 2, 6)
  once = diagnostics.spread(jnp.asarray(z))
  check(diagnostics.spread(jnp.asarray(z[::-1])), once)
  split = jax.device_put(z, sharding.by_rows(sharding.make_mesh()))
  check(jax.jit(diagnostics.spread)(split), once)


def test_axes_seen_equally_often_have_full_spread_and_rank():
  axes = np.concatenate([np.eye(4), -np.eye(4)])[:, None]
  metrics = diagnostics.spread(jnp.asarray(axes, jnp.float32))
  assert "positive_similarity" not in metrics
  assert_allclose(metrics["embedding_std"], 1.0, rtol=1e-6)
  assert_allclose(metrics["effective_rank"], 4.0, rtol=1e-6)
  assert_allclose(metrics["negative_similarity"], -1 / 7, rtol=1e-5)


def test_a_batch_may_have_more_pairs_than_an_i32_holds():
  rows = jax.ShapeDtypeStruct((32768, 2, 8), np.float32)
  assert "negative_similarity" in jax.eval_shape(jax.jit(diagnostics.spread), rows)


def test_spread_carries_no_gradient():
  grad = jax.grad(lambda z: diagnostics.spread(z)["effective_rank"])(normal(4, 2, 3))
  assert_allclose(grad, 0.0)


def as_floats(metrics):
  return {name: float(value) for name, value in metrics.items()}


def test_healthy_embeddings_are_not_called_collapsed():
  assert diagnostics.collapse(as_floats(diagnostics.spread(normal(32, 2, 8)))) is None
  told = {"teacher_information": 0.3, "loss": 1.0}
  assert diagnostics.collapse({"teacher_entropy": 0.6, **told}) is None
  assert diagnostics.collapse({"teacher_entropy": 1e-3, **told}) is None


@pytest.mark.parametrize(
  ("z", "sentence"),
  [
    (1e-3 * normal(32, 2, 8) + np.float32(1), "nearly one embedding"),
    (normal(32, 2, 1) * np.ones((1, 1, 8), np.float32), "along a single line"),
  ],
)
def test_collapsed_embeddings_are_told_in_a_sentence(z, sentence):
  assert sentence in diagnostics.collapse(as_floats(diagnostics.spread(z)))


@pytest.mark.parametrize(
  ("entropy", "sentence"), [(1e-3, "few prototypes"), (0.9999, "even assignment")]
)
def test_a_teacher_that_tells_nothing_of_the_picture_is_collapsed(entropy, sentence):
  metrics = {"teacher_entropy": entropy, "teacher_information": 1e-3}
  assert sentence in diagnostics.collapse(metrics)


def test_assignments_that_are_even_for_every_picture_are_collapsed_and_sharp_ones_not():
  sentence = diagnostics.collapse({"assignment_entropy": 0.9999})
  assert "belongs to all prototypes alike" in sentence
  assert diagnostics.collapse({"assignment_entropy": 1e-3}) is None


def test_watched_paths_are_logged_by_their_gradient_s_norm():
  grads = {"encoder": {"conv1": np.full(4, 3.0), "bn1": np.full(4, 9.0)}}
  assert diagnostics.watch(("^encoder/conv1",))(grads) == {
    "grad_norm/encoder/conv1": 6.0
  }
  with pytest.raises(ValueError, match="watch holds 'patch', which is in no"):
    diagnostics.watch(("patch",))(grads)
