"""What light and weather do to a picture."""

import jax
import jax.numpy as jnp


def fog(key: jax.Array, x: jax.Array, parameters: jax.Array) -> jax.Array:
  """Adds (density, decay) of a `plasma`, and keeps the brightest value as it is."""
  density, decay = parameters
  brightest = x.max()
  x = x + density * plasma(key, x.shape[1], decay)[None]
  return x * brightest / (brightest + density)


def brightness(key: jax.Array, x: jax.Array, more: jax.Array) -> jax.Array:
  """Adds to the value of HSV; black becomes gray."""
  value = x.max(0, keepdims=True)
  new = jnp.clip(value + more, 0.0, 1.0)
  return jnp.where(value > 0, x * new / jnp.maximum(value, 1e-6), new)


def contrast(key: jax.Array, x: jax.Array, factor: jax.Array) -> jax.Array:
  """Draws each channel to its mean."""
  mean = x.mean((1, 2), keepdims=True)
  return mean + factor * (x - mean)


def saturate(key: jax.Array, x: jax.Array, parameters: jax.Array) -> jax.Array:
  """HSV's saturation times a factor, plus an offset that makes gray reddish."""
  factor, offset = parameters
  value = x.max(0, keepdims=True)
  chroma = value - x.min(0, keepdims=True)
  red = jnp.array([0.0, 1.0, 1.0])[:, None, None]  # gray has hue 0
  hue = jnp.where(chroma > 0, (value - x) / jnp.maximum(chroma, 1e-6), red)
  saturation = chroma / jnp.maximum(value, 1e-6)
  return value - value * jnp.clip(factor * saturation + offset, 0.0, 1.0) * hue


def plasma(key: jax.Array, side: int, decay: jax.Array | float) -> jax.Array:
  """Draws clouds [side,side] in 0..1 by the diamond-square algorithm on a torus.

  Every point is the mean of its four neighbours, plus noise that shrinks by `decay`
  squared each time the grid gets twice as fine.
  """
  step = 1 << (side - 1).bit_length()
  noise = jax.random.uniform(key, (step, step), minval=-1.0)
  x = jnp.zeros((1, 1))
  while step > 1:
    step, noise = step // 2, noise / decay**2
    fine = noise[::step, ::step]
    right, below = x + jnp.roll(x, -1, 1), x + jnp.roll(x, -1, 0)
    centre = fine[1::2, 1::2] + (below + jnp.roll(below, -1, 1)) / 4
    above = fine[::2, 1::2] + (right + centre + jnp.roll(centre, 1, 0)) / 4
    left = fine[1::2, ::2] + (below + centre + jnp.roll(centre, 1, 1)) / 4
    rows = jnp.stack([jnp.stack([x, above], -1), jnp.stack([left, centre], -1)], 1)
    x = rows.reshape(2 * len(x), 2 * len(x))
    x = jax.lax.optimization_barrier(x)  # else XLA repeats it for each use
  x = (x - x.min()) / (x.max() - x.min())
  return x[:side, :side]
