"""Normalisation: by a batch whose group is a number in the recipe, or by none.

A variance is a mean of squares about a guess of the mean: E[x^2] - E[x]^2 in float32
is wrong by 1e-5 where the mean is ten deviations, by 1e-3 where it is a hundred.

For its gradient a norm keeps its input as it came and two float32 numbers of whatever
it normalises together; autodiff keeps float32 copies of the input.
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
    scale = bias = None
    if self.use_scale:
      scale = self.param("scale", self.scale_init, (dim,))
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (dim,))
    if not train or self.is_initializing():
      mean, var = _like(running_mean.value, x), _like(running_var.value, x)
      return _affine(
        x, mean, jax.lax.rsqrt(var + self.epsilon), scale, bias, self.dtype
      )

    shape, (x, axes) = x.shape, self._split(x)
    y, mean, var = _batch_norm(
      x, scale, bias, running_mean.value, axes, self.epsilon, self.dtype
    )
    count = x.size // mean.size
    unbiased = var * (count / max(1, count - 1))
    for running, new in ((running_mean, mean), (running_var, unbiased)):
      new = new.reshape(-1, dim).mean(axis=0)
      running.value = self.momentum * running.value + (1 - self.momentum) * new
    return y.reshape(shape)

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
    return _normalise(self, x, tuple(range(1, x.ndim)))


class ChannelNorm(nn.Module):
  """Normalises each position by itself over its channels, as transformers have it.

  Statistics are float32 whatever x is.
  """

  epsilon: float = 1e-6
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises each position of [...,C] -> the same shape in `dtype`."""
    return _normalise(self, x, (x.ndim - 1,))


def _normalise(module: nn.Module, x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  """Normalises x over `axes`, with the module's scale and bias a channel."""
  scale = module.param("scale", module.scale_init, x.shape[-1:])
  bias = module.param("bias", nn.initializers.zeros, x.shape[-1:])
  return _layer_norm(x, scale, bias, axes, module.epsilon, module.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _batch_norm(x, scale, bias, guess, axes, epsilon, dtype):
  """Normalises x over `axes` -> y in `dtype`, mean, biased variance, `axes` kept as 1.

  Scale and bias [C] may be None. About a `guess` [C] of the mean the moments are one
  pass over x and, on many devices, one sum; the mean itself would take two.
  """
  return _batch_norm_forward(x, scale, bias, guess, axes, epsilon, dtype)[0]


def _batch_norm_forward(x, scale, bias, guess, axes, epsilon, dtype):
  guess = _like(guess, x)
  d = x.astype(jnp.float32) - guess
  off = d.mean(axes, keepdims=True)
  var = jnp.square(d).mean(axes, keepdims=True) - jnp.square(off)
  mean, var = guess + off, jnp.maximum(var, 0)
  inverse = jax.lax.rsqrt(var + epsilon)
  y = _affine(x, mean, inverse, scale, bias, dtype)
  return (y, mean, var), (x, mean, inverse, scale, bias)


def _batch_norm_backward(axes, epsilon, dtype, saved, grads):
  """Takes two sums over the batch, at once; the rest is numbers of a channel."""
  x, mean, inverse, scale, bias = saved
  grad, grad_mean, grad_var = grads
  grad, d = grad.astype(jnp.float32), x.astype(jnp.float32) - mean
  total = grad.sum(axes, keepdims=True)
  along = (grad * d).sum(axes, keepdims=True)
  gain = inverse if scale is None else inverse * _like(scale, inverse)
  count = x.size // mean.size
  by_d = (2 * grad_var - gain * jnp.square(inverse) * along) / count
  by_one = (grad_mean - gain * total) / count
  grad_x = (grad * gain + d * by_d + by_one).astype(x.dtype)
  flat = lambda a: a.reshape(-1, a.shape[-1]).sum(0)  # noqa: E731
  grad_scale = None if scale is None else flat(along * inverse)
  grad_bias = None if bias is None else flat(total)
  return grad_x, grad_scale, grad_bias, jnp.zeros(x.shape[-1:])  # for any guess alike


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _layer_norm(x, scale, bias, axes, epsilon, dtype):
  """Normalises x over `axes`, the last among them, in two passes -> y in `dtype`."""
  return _layer_norm_forward(x, scale, bias, axes, epsilon, dtype)[0]


def _layer_norm_forward(x, scale, bias, axes, epsilon, dtype):
  mean = x.mean(axes, keepdims=True, dtype=jnp.float32)
  var = jnp.square(x.astype(jnp.float32) - mean).mean(axes, keepdims=True)
  inverse = jax.lax.rsqrt(var + epsilon)
  y = _affine(x, mean, inverse, scale, bias, dtype)
  return y, (x, mean, inverse, scale)


def _layer_norm_backward(axes, epsilon, dtype, saved, grad):
  x, mean, inverse, scale = saved
  grad, hat = grad.astype(jnp.float32), (x.astype(jnp.float32) - mean) * inverse
  grad_hat = grad * _like(scale, grad)
  along = (grad_hat * hat).mean(axes, keepdims=True)
  grad_x = inverse * (grad_hat - grad_hat.mean(axes, keepdims=True) - hat * along)
  lead = tuple(range(x.ndim - 1))
  return grad_x.astype(x.dtype), (grad * hat).sum(lead), grad.sum(lead)


_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


def _affine(x, mean, inverse, scale, bias, dtype) -> jax.Array:
  """Computes (x - mean) * inverse * scale + bias in float32 -> x's shape in `dtype`."""
  gain = inverse if scale is None else inverse * _like(scale, inverse)
  y = (x.astype(jnp.float32) - mean) * gain
  return (y if bias is None else y + _like(bias, y)).astype(dtype)


def _like(a: jax.Array, x: jax.Array) -> jax.Array:
  """Adds leading axes of size 1 until `a` has x's rank."""
  return a.reshape((1,) * (x.ndim - a.ndim) + a.shape)
