"""Normalisation: by a batch whose group is a number in the recipe, or by none.

A variance is a mean of squares about a guess of the mean: E[x^2] - E[x]^2 in float32
is wrong by 1e-5 where the mean is ten deviations, by 1e-3 where it is a hundred.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.fields import ConfigError


class BatchNorm(nn.Module):
  """Batch normalisation over groups of examples (Ioffe & Szegedy 2015).

  `group_size=0` takes the statistics of the whole global batch, on one device or on
  many ("sync BN"). `group_size=n` takes them inside groups of n examples: neighbours,
  or with `strided` every (B/n)-th example, so that a group mixes what lies far apart
  in the batch (the purpose of MoCo's shuffle, He et al. 2020, section 3.3).

  Statistics are float32 whatever x is, and sums of x less the running mean: of a
  channel whose mean is large beside its deviation they keep their digits once that
  average has come near. Without `train`, and in `init`, the running ones serve. Those
  follow PyTorch: the variance they average is the unbiased one, and groups enter by
  their mean. ValueError if the groups do not divide the batch.
  """

  momentum: float = 0.9  # of the running statistics: m old + (1 - m) new
  epsilon: float = 1e-5
  group_size: int = 0  # examples
  strided: bool = False
  use_scale: bool = True
  use_bias: bool = True
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Normalises [B,...,C] by batch groups -> the same shape in `dtype`."""
    dim = x.shape[-1]
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (dim,))
    running_var = self.variable("batch_stats", "var", jnp.ones, (dim,))
    shape = x.shape
    if not train or self.is_initializing():
      mean, var = running_mean.value, running_var.value
    else:
      x, axes = self._split(x)
      mean, var, count = _moments(x, axes, running_mean.value)
      unbiased = var * (count / max(1, count - 1))
      for running, new in ((running_mean, mean), (running_var, unbiased)):
        new = new.reshape(-1, dim).mean(axis=0)
        running.value = self.momentum * running.value + (1 - self.momentum) * new

    gain = jax.lax.rsqrt(var + self.epsilon)
    if self.use_scale:
      gain = gain * _like(self.param("scale", self.scale_init, (dim,)), gain)
    y = (x.astype(jnp.float32) - _like(mean, x)) * _like(gain, x)
    if self.use_bias:
      y = y + _like(self.param("bias", nn.initializers.zeros, (dim,)), y)
    return y.astype(self.dtype).reshape(shape)

  def _split(self, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """Splits the batch axis of [B,...,C] by groups -> it, axes that one group spans."""
    batch, n = x.shape[0], self.group_size
    if n == 0:
      return x, tuple(range(x.ndim - 1))
    if batch % n:
      fits = max(d for d in range(1, batch + 1) if batch % d == 0 and d <= n)
      raise ConfigError(
        f"group_size={n} must divide the batch of {batch}; try {fits}, or 0 for "
        "the statistics of the whole batch"
      )
    lead = (n, batch // n) if self.strided else (batch // n, n)
    x = x.reshape(*lead, *x.shape[1:])
    return x, (0 if self.strided else 1, *range(2, x.ndim - 1))


class LayerNorm(nn.Module):
  """Normalises each example over all its axes, with a scale and bias a channel.

  Ba et al. 2016 on a picture, for methods whose batch must not tell (CPC). Statistics
  are float32 whatever x is.
  """

  epsilon: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Normalises each example of [B,...,C] -> the same shape in `dtype`."""
    dim = x.shape[-1]
    gain = _like(self.param("scale", self.scale_init, (dim,)), x)
    shift = _like(self.param("bias", nn.initializers.zeros, (dim,)), x)
    x, axes = x.astype(jnp.float32), tuple(range(1, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    var = jnp.square(x).mean(axes, keepdims=True)
    return (x * jax.lax.rsqrt(var + self.epsilon) * gain + shift).astype(self.dtype)


# Each position by itself, over its channels, as transformers have it; in float32.
ChannelNorm = partial(nn.LayerNorm, dtype=jnp.float32, use_fast_variance=False)


def _moments(x: jax.Array, axes: tuple[int, ...], guess: jax.Array):
  """Computes mean, biased variance (keeping `axes` as 1), number of values behind each.

  About a `guess` [C] of the mean they are one pass over x and, on many devices, one
  sum; the mean itself would take two.
  """
  guess = _like(guess, x)
  d = x.astype(jnp.float32) - guess
  mean = d.mean(axes, keepdims=True)
  var = jnp.square(d).mean(axes, keepdims=True) - jnp.square(mean)
  return guess + mean, jnp.maximum(var, 0), x.size // mean.size


def _like(a: jax.Array, x: jax.Array) -> jax.Array:
  """Adds leading axes of size 1 until `a` has x's rank."""
  return a.reshape((1,) * (x.ndim - a.ndim) + a.shape)
