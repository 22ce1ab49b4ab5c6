import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose

from ssljax.losses import sequence

pytestmark = pytest.mark.usefixtures("both_forms")


def cpc(*args):
  return jax.jit(sequence.cpc)(*args)


def arrays(*shape, steps, dim=5, seed=0):
  """-> predictions [*shape,K,D], latents [*shape,D]."""
  rng = np.random.default_rng(seed)
  predictions = rng.normal(size=(*shape, steps, dim)).astype(np.float32)
  return predictions, rng.normal(size=(*shape, dim)).astype(np.float32)


def paper(predictions, latents, candidates):
  """Eq. 4 in loops; `candidates(b, positive)` -> all latents of the softmax."""
  batch, length = latents.shape[:2]
  losses = []
  for k in range(1, predictions.shape[-2] + 1):
    terms = []
    for b in range(batch):
      for t in range(length - k):
        for rest in np.ndindex(latents.shape[2:-1]):
          wc = np.float64(predictions[(b, t, *rest, k - 1)])
          at = (b, t + k, *rest)
          f = [np.exp(np.dot(z, wc)) for z in candidates(b, at)]
          terms.append(-np.log(np.exp(np.dot(latents[at], wc)) / np.sum(f)))
    losses.append(np.mean(terms))
  return losses


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2)])
def test_cpc_is_equation_4_over_all_latents_of_the_batch(shape):
  predictions, latents = arrays(*shape, steps=2)
  everything = latents.reshape(-1, 5)
  expected = paper(predictions, latents, lambda b, at: everything)
  assert_allclose(cpc(predictions, latents), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2)])
def test_cpc_is_equation_4_over_drawn_latents_and_the_positive(shape):
  predictions, latents = arrays(*shape, steps=2, seed=1)
  count = latents[..., 0].size
  negatives = np.random.default_rng(2).integers(0, count, (shape[0], 7))

  def candidates(b, at):
    drawn = [np.unravel_index(i, shape) for i in negatives[b]]
    return [latents[at], *(latents[i] for i in drawn if i != at)]

  expected = paper(predictions, latents, candidates)
  actual = cpc(predictions, latents, negatives.astype(np.int32))
  assert_allclose(actual, expected, rtol=1e-5)


def test_two_latents_by_hand():
  """One sequence z = (1, 3), W c_0 = 2: the softmax is over exp(2) and exp(6)."""
  latents = jnp.array([[[1.0], [3.0]]])
  predictions = jnp.array([[[[2.0]], [[7.0]]]])  # the last has nothing to predict
  assert_allclose(cpc(predictions, latents), [np.log(1 + np.exp(-4))], rtol=1e-5)


def test_a_drawn_latent_that_is_the_positive_does_not_count():
  latents = jnp.array([[[1.0], [3.0]]])
  predictions = jnp.array([[[[2.0]], [[7.0]]]])
  for drawn, expected in [([1, 1], 0.0), ([0, 1], np.log(1 + np.exp(-4)))]:
    loss, slope = jax.value_and_grad(
      lambda p, drawn=drawn: cpc(p, latents, jnp.array([drawn])).sum()
    )(predictions)
    assert_allclose(loss, expected, atol=1e-6)
    assert np.isfinite(slope).all()


def test_predictions_that_know_nothing_cost_the_logarithm_of_the_candidates():
  predictions, latents = arrays(3, 4, steps=3)
  zero = np.zeros_like(predictions)
  assert_allclose(cpc(zero, latents), [np.log(12)] * 3, rtol=1e-6)
  negatives = np.array([[0], [0], [0]], np.int32)  # no positive is z_0 of the first
  actual = cpc(zero, latents, negatives)
  assert_allclose(actual, [np.log(2)] * 3, rtol=1e-6)


@pytest.mark.parametrize("drawn", [False, True])
def test_the_gradient_is_finite_differences(drawn):
  predictions, latents = map(jnp.asarray, arrays(2, 3, 2, steps=2, dim=3))
  negatives = jnp.array([[0, 5, 9, 9], [3, 2, 11, 6]], jnp.int32) if drawn else None

  def loss(predictions, latents):
    return cpc(predictions, latents, negatives).sum()

  check_grads(loss, (predictions, latents), 1, ["rev"], eps=1e-2, atol=5e-3)


def test_float32_inside_whatever_comes():
  predictions, latents = (jnp.asarray(x, jnp.bfloat16) for x in arrays(2, 3, steps=2))
  loss = cpc(predictions, latents)
  exact = cpc(predictions.astype(jnp.float32), latents.astype(jnp.float32))
  assert loss.dtype == jnp.float32
  assert_allclose(loss, exact, rtol=1e-6)


def test_more_steps_than_the_sequence_has_are_refused():
  with pytest.raises(ValueError, match="steps=4 must be less than the 4 latents"):
    cpc(*arrays(2, 4, steps=4))
