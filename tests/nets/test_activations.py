"""Activations' own slopes against autodiff's, and the one array that they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ssljax.nets.activations import ACTIVATIONS
from ssljax.train import kept

PLAIN = {
  "relu": jax.nn.relu,
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
  "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}
X = np.float32([*np.linspace(-6, 6, 121), -0.0, 40, -40])
every_one = pytest.mark.parametrize("name", ACTIVATIONS)


@every_one
def test_slopes_are_those_of_autodiff_and_bfloat16_rounds_them(name):
  slope = lambda f, x: jax.vmap(jax.grad(f))(x)  # noqa: E731
  f, expected = ACTIVATIONS[name], slope(PLAIN[name], X)
  assert_allclose(f(X), PLAIN[name](X), rtol=0, atol=0)
  assert_allclose(slope(f, X), expected, atol=1e-6)
  half = jnp.asarray(X, jnp.bfloat16)
  exact = slope(PLAIN[name], half.astype(jnp.float32))
  rounded = slope(f, half)
  assert rounded.dtype == jnp.bfloat16
  assert_allclose(np.float32(rounded), exact, rtol=2**-8, atol=1e-6)


@every_one
def test_one_array_is_kept_as_it_came(name):
  x = jax.ShapeDtypeStruct((5,), jnp.bfloat16)
  f = lambda w, x: ACTIVATIONS[name](w * x).astype(jnp.float32).sum()  # noqa: E731
  _, arrays = kept.trace(f, jnp.bfloat16(1), x)
  assert [(a.shape, a.dtype) for a in arrays] == [((5,), jnp.bfloat16)]
