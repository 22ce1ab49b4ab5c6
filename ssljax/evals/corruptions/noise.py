"""Noise: of the sensor, of the photons, of the transmission."""

import jax
import jax.numpy as jnp


def gaussian(key: jax.Array, x: jax.Array, deviation: jax.Array) -> jax.Array:
  """Adds Gaussian noise of the same `deviation` everywhere."""
  return x + deviation * jax.random.normal(key, x.shape)


def shot(key: jax.Array, x: jax.Array, photons: jax.Array) -> jax.Array:
  """Counts Poisson many photons, of which white has `photons` on average."""
  return jax.random.poisson(key, photons * x).astype(jnp.float32) / photons


def impulse(key: jax.Array, x: jax.Array, share: jax.Array) -> jax.Array:
  """Makes that `share` of the values 0 or 1, as often the one as the other."""
  u = jax.random.uniform(key, x.shape)
  return jnp.where(u < share / 2, 0.0, jnp.where(u < share, 1.0, x))


def speckle(key: jax.Array, x: jax.Array, deviation: jax.Array) -> jax.Array:
  """Adds Gaussian noise in proportion to the brightness."""
  return x + x * deviation * jax.random.normal(key, x.shape)
