import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal
from oracle_file import oracle

from ssljax.losses import masked


def equation(prediction, target, mask, norm_pix):
  """The mean over hidden patches of the mean over pixels, a patch at a time."""
  errors = []
  for b, n in np.argwhere(mask):
    wanted = target[b, n].astype(np.float64)
    if norm_pix:
      spread = ((wanted - wanted.mean()) ** 2).sum() / (len(wanted) - 1)
      wanted = (wanted - wanted.mean()) / np.sqrt(spread + 1e-6)
    errors.append(np.mean((prediction[b, n] - wanted) ** 2))
  return np.mean(errors)


def some(seed=0):
  rng = np.random.default_rng(seed)
  prediction, target = rng.normal(2, 3, (2, 3, 5, 12)).astype(np.float32)
  mask = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 0]])
  return prediction, target, mask


@pytest.mark.parametrize("norm_pix", [False, True])
def test_masked_mse_is_the_papers_and_blind_to_what_was_seen(norm_pix):
  prediction, target, mask = some()
  loss = masked.masked_mse(*map(jnp.asarray, some()), norm_pix)
  assert_allclose(loss, equation(prediction, target, mask, norm_pix), rtol=1e-5)
  prediction[mask == 0] = 99
  again = masked.masked_mse(*map(jnp.asarray, (prediction, target, mask)), norm_pix)
  assert_array_equal(loss, again)


def test_masked_mse_of_one_hidden_patch_by_hand():
  prediction = jnp.array([[[0.0, 0.0], [9.0, 9.0]]])
  target = jnp.array([[[1.0, 3.0], [0.0, 0.0]]])
  mask = jnp.array([[1, 0]])
  assert_allclose(masked.masked_mse(prediction, target, mask, False), 5)  # (1 + 9) / 2
  # About the mean of 2 the deviation is sqrt(2), unbiased: targets are ±1 / sqrt(2).
  assert_allclose(masked.masked_mse(prediction, target, mask, True), 0.5, rtol=1e-5)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_masked_error_is_each_picture_s_own(norm_pix):
  prediction, target, mask = some()
  errors = masked.masked_error(*map(jnp.asarray, some()), norm_pix)
  for i, error in enumerate(errors):
    one = slice(i, i + 1)
    expected = equation(prediction[one], target[one], mask[one], norm_pix)
    assert_allclose(error, expected, rtol=1e-5)


def test_where_all_hide_as_many_the_mean_of_masked_errors_is_masked_mse():
  prediction, target, _ = map(jnp.asarray, some())
  mask = jnp.array([[1, 0, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1]])
  errors = masked.masked_error(prediction, target, mask, True)
  assert_allclose(errors.mean(), masked.masked_mse(prediction, target, mask, True))


def test_a_picture_that_hides_nothing_has_no_error_and_no_gradient():
  prediction, target, mask = map(jnp.asarray, some())
  mask = mask.at[1].set(0)

  def total(prediction):
    errors = masked.masked_error(prediction, target, mask, True)
    return errors.sum(), errors

  grads, errors = jax.grad(total, has_aux=True)(prediction)
  assert errors[1] == 0
  assert not grads[1].any()
  assert jnp.isfinite(grads).all()
  assert grads[0].any()


def test_the_gradient_of_masked_mse_is_that_of_finite_differences():
  prediction, target, mask = map(jnp.asarray, some())
  check_grads(
    lambda p: masked.masked_mse(p, target, mask, True), (prediction,), 1, rtol=2e-2
  )


def test_masked_mse_is_the_official_value():
  o = oracle("12_mae_full_0")
  target = masked.patchify(jnp.asarray(o["in_x"].transpose(0, 2, 3, 1)), 4)
  prediction = jnp.asarray(o["out_pred"].astype(np.float32))
  loss = masked.masked_mse(prediction, target, jnp.asarray(o["out_mask"] > 0), True)
  assert_allclose(loss, o["out_loss"], rtol=1e-6)


def test_patches_are_the_official_ones_there_and_back():
  o = oracle("12_mae_full_0")
  image = jnp.asarray(o["in_x"].transpose(0, 2, 3, 1))
  patches = masked.patchify(image, 4)
  assert_allclose(patches, o["out_patchify"])
  assert_array_equal(masked.unpatchify(patches, 4, 16, 16), image)
  picture = masked.unpatchify(jnp.asarray(np.float32(o["out_pred"])), 4, 16, 16)
  expected = o["out_unpatchify_of_pred"].transpose(0, 2, 3, 1)
  assert_allclose(picture, expected, rtol=1e-6)


def test_patches_of_a_picture_that_is_not_square_go_by_rows():
  image = np.arange(2 * 4 * 6).reshape(2, 4, 6, 1)
  patches = masked.patchify(jnp.asarray(image), 2)
  assert patches.shape == (2, 6, 4)
  assert_array_equal(patches[0, 4], [14, 15, 20, 21])
  assert_array_equal(masked.unpatchify(patches, 2, 4, 6), image)


def test_bfloat16_predictions_are_compared_in_float32():
  prediction, target, mask = map(jnp.asarray, some())
  loss = jax.eval_shape(
    lambda p: masked.masked_mse(p.astype(jnp.bfloat16), target, mask, True), prediction
  )
  assert loss.dtype == jnp.float32
