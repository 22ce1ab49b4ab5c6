"""Losses that keep embeddings apart: the official values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracle_file import oracle

from ssljax.losses import spread


@pytest.mark.parametrize("project", ["", "dinov2_"])
def test_koleo_is_lightlys_and_dinov2s(project):
  o = oracle("12_koleo_0")
  value, grad = jax.value_and_grad(spread.koleo)(jnp.float32(o["in_x"]))
  assert_allclose(value, o[f"out_{project}loss"], rtol=2e-6)
  expected = o[f"out_{project}grad_x"]
  assert_allclose(grad, expected, atol=1e-5 * np.abs(expected).max())


def test_koleo_compares_neighbours_of_a_group_alone():
  x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
  expected = np.mean([spread.koleo(x[i : i + 4]) for i in range(0, 12, 4)])
  assert_allclose(spread.koleo(x, 4), expected, rtol=1e-5)
  assert abs(spread.koleo(x) - expected) > 1e-2


def test_koleo_of_equal_rows_is_finite():
  value, grad = jax.value_and_grad(spread.koleo)(jnp.ones((4, 3)))
  assert np.isfinite(value)
  assert np.isfinite(grad).all()


def test_groups_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match="koleo_group=5 must divide the batch of 12"):
    spread.koleo(jnp.ones((12, 3)), 5)
