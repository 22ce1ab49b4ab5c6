"""Activations that keep one array for their gradient.

That of ReLU is its output, which whatever is next keeps anyway; that of the others
their input, as it came. Autodiff keeps a mask, and of GELU three arrays.
"""

import math

import jax
import jax.numpy as jnp


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
  """Computes max(x, 0) of any shape."""
  return jax.nn.relu(x)


def _relu_forward(x):
  y = jax.nn.relu(x)
  return y, y


def _relu_backward(y, grad):
  return (jnp.where(y > 0, grad, jnp.zeros_like(grad)),)


relu.defvjp(_relu_forward, _relu_backward)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
  """Computes x P(X < x) of a normal X (Hendrycks & Gimpel 2016), not approximated."""
  return jax.nn.gelu(x, approximate=False)


def _gelu_forward(x):
  return jax.nn.gelu(x, approximate=False), x


def _gelu_backward(x, grad):
  z = x.astype(jnp.float32)
  share = jax.lax.erfc(-z * math.sqrt(0.5)) / 2
  density = jnp.exp(-jnp.square(z) / 2) / math.sqrt(2 * math.pi)
  slope = share + z * density
  return ((grad.astype(jnp.float32) * slope).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


@jax.custom_vjp
def quick_gelu(x: jax.Array) -> jax.Array:
  """Computes x sigmoid(1.702 x): CLIP's (Radford et al. 2021)."""
  return x * jax.nn.sigmoid(1.702 * x)


def _quick_gelu_forward(x):
  return x * jax.nn.sigmoid(1.702 * x), x


def _quick_gelu_backward(x, grad):
  z = x.astype(jnp.float32)
  share = jax.nn.sigmoid(1.702 * z)
  slope = share + 1.702 * z * share * (1 - share)
  return ((grad.astype(jnp.float32) * slope).astype(x.dtype),)


quick_gelu.defvjp(_quick_gelu_forward, _quick_gelu_backward)


@jax.custom_vjp
def gelu_tanh(x: jax.Array) -> jax.Array:
  """Computes GELU by a hyperbolic tangent (Hendrycks & Gimpel 2016): SigLIP's."""
  return jax.nn.gelu(x, approximate=True)


def _gelu_tanh_forward(x):
  return jax.nn.gelu(x, approximate=True), x


def _gelu_tanh_backward(x, grad):
  z = x.astype(jnp.float32)
  scale = math.sqrt(2 / math.pi)
  t = jnp.tanh(scale * (z + 0.044715 * z**3))
  slope = (1 + t) / 2 + z * (1 - t * t) / 2 * scale * (1 + 3 * 0.044715 * z * z)
  return ((grad.astype(jnp.float32) * slope).astype(x.dtype),)


gelu_tanh.defvjp(_gelu_tanh_forward, _gelu_tanh_backward)


ACTIVATIONS = {
  "relu": relu,
  "gelu": gelu,
  "quick_gelu": quick_gelu,
  "gelu_tanh": gelu_tanh,
}
