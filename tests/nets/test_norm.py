"""Norms, and BatchNorm's groups and running statistics, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets.norm import BatchNorm, LayerNorm

X = np.random.default_rng(0).normal(3.0, 2.0, (12, 2, 3, 5)).astype(np.float32)


def run(x, train=True, **fields):
  norm = BatchNorm(**fields)
  variables = norm.init(jax.random.key(0), x, train)
  return norm.apply(variables, x, train, mutable=["batch_stats"])


def normalised(x):
  mean = x.mean((0, 1, 2), dtype=np.float64)
  var = x.var((0, 1, 2), dtype=np.float64)
  return (x - mean) / np.sqrt(var + 1e-5)


def test_group_size_zero_normalises_the_whole_batch():
  y, new = run(X)
  assert_allclose(y, normalised(X), atol=1e-5)
  flat = X.reshape(-1, 5).astype(np.float64)
  assert_allclose(new["batch_stats"]["mean"], 0.1 * flat.mean(0), rtol=1e-5)
  var = 0.9 + 0.1 * flat.var(0, ddof=1)
  assert_allclose(new["batch_stats"]["var"], var, rtol=1e-5)


def test_groups_are_neighbours_in_the_batch():
  y, new = run(X, group_size=4)
  groups = [X[0:4], X[4:8], X[8:12]]
  assert_allclose(y, np.concatenate([normalised(g) for g in groups]), atol=1e-5)
  var = np.mean([g.reshape(-1, 5).var(0, ddof=1) for g in groups], axis=0)
  assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_strided_groups_take_every_third_of_twelve_examples():
  y, _ = run(X, group_size=4, strided=True)
  for g in range(3):
    assert_allclose(y[g::3], normalised(X[g::3]), atol=1e-5)


def test_statistics_of_bfloat16_are_float32():
  y, new = run(jnp.asarray(X, jnp.bfloat16), dtype=jnp.bfloat16)
  assert y.dtype == jnp.bfloat16
  assert new["batch_stats"]["var"].dtype == jnp.float32
  assert_allclose(np.float32(y), normalised(X), atol=0.05)


def test_without_train_the_running_statistics_serve_and_stay():
  y, new = run(X, train=False)
  assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-6)
  assert not new["batch_stats"]["mean"].any()


def test_the_affine_parameters_can_be_left_out():
  variables = BatchNorm(use_scale=False, use_bias=False).init(
    jax.random.key(0), X, True
  )
  assert "params" not in variables


@pytest.mark.parametrize(("batch", "fits"), [(48, 24), (16, 16)])
def test_a_group_that_does_not_divide_the_batch_is_named(batch, fits):
  with pytest.raises(ValueError, match=f"must divide the batch of {batch}; try {fits}"):
    run(np.zeros((batch, 5), np.float32), group_size=32)


def test_layer_norm_takes_an_example_by_itself_over_all_its_axes():
  norm = LayerNorm()
  variables = norm.init(jax.random.key(0), X, True)
  scale, bias = np.float32([1, 2, 3, 4, 5]), np.float32([5, 4, 3, 2, 1])
  y = norm.apply({"params": {"scale": scale, "bias": bias}}, X, True)
  for x, actual in zip(X.astype(np.float64), y, strict=True):
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    assert_allclose(actual, expected * scale + bias, atol=1e-4)
  assert jax.tree.map(np.shape, variables) == {"params": {"scale": (5,), "bias": (5,)}}
