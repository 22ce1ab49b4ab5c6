"""Convolution, with a kernel gradient that a CPU computes at a bearable speed.

XLA's CPU backend is quick at a convolution and at its input gradient, but computes
the kernel gradient as a convolution with a window as large as the image: 140 ms for
a 3x3 layer of 64 channels on 64 images of 32x32, where the forward pass takes 30
(CPU time on one core). Written as a matrix product it takes 60.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ssljax.nets import inits

SMALL = 8  # outputs of so few rows leave the kernel's gradient to `lax`, 15 % faster
PIECE = 2**17  # numbers in one piece of the batch: half a megabyte


class Conv(nn.Module):
  """Square convolution with a kernel [k,k,C,features], float32.

  Padding is explicit and symmetric as in PyTorch: k // 2 unless given. With `same` it
  is TensorFlow's "SAME", which where it strides may be one wider behind than before.
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: int | None = None
  use_bias: bool = False
  same: bool = False
  kernel_init: nn.initializers.Initializer = inits.KERNELS["he_fan_out"]
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Convolves pictures [B,H,W,C] -> [B,H',W',features] in `dtype`."""
    k = self.kernel_size
    padding = k // 2 if self.padding is None else self.padding
    if self.same and self.stride > 1:
      sides = [same_padding(n, k, self.stride) for n in x.shape[1:3]]
      x, padding = jnp.pad(x, ((0, 0), *sides, (0, 0))), 0
    shape = (k, k, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
    y = conv2d(x.astype(self.dtype), kernel, self.stride, padding)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      y = y + bias.astype(self.dtype)[None, None, None]
    return y


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
  """Computes the pixels before and behind one side, as TensorFlow's "SAME" has them."""
  total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
  return total // 2, total - total // 2


def conv2d(
  x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0
) -> jax.Array:
  """Correlates image [B,H,W,C] with kernel [k,k,C,D] -> [B,H',W',D].

  On a CPU (asked when this is traced) a kernel that tiles the image is a matrix
  product, and most kernels' gradient is `_kernel_grad`, with `lax`'s values to
  rounding. A CPU that plays several devices keeps `lax`'s own, which XLA knows how
  to split.
  """
  if as_products():
    return _conv_cpu(x, kernel, stride, padding)
  return _conv(x, kernel, stride, padding)


def as_products() -> bool:
  """Whether this machine computes convolutions' gradients as matrix products."""
  return jax.default_backend() == "cpu" and jax.device_count() == 1


def _conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=((padding, padding), (padding, padding)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _tiles(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Patches that do not overlap, and 1x1 kernels."""
  batch, height, width, channels = x.shape
  k = kernel.shape[0]
  high, wide = height // k, width // k
  x = x[:, : high * k, : wide * k].reshape(batch, high, k, wide, k, channels)
  return jnp.einsum("bhiwjc,ijcd->bhwd", x, kernel)


def _quick(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  tiles = kernel.shape[0] == stride and padding == 0
  return _tiles(x, kernel) if tiles else _conv(x, kernel, stride, padding)


_conv_cpu = jax.custom_vjp(_quick, nondiff_argnums=(2, 3))


def _forward(x, kernel, stride, padding):
  return _quick(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, grad):
  x, kernel = saved
  k = kernel.shape[0]
  if k > 1 and (k == stride or grad.shape[1] <= SMALL):
    _, vjp = jax.vjp(lambda x, k: _quick(x, k, stride, padding), x, kernel)
    return vjp(grad)
  # Of 1x1 kernels too: XLA would transpose what led to `grad` together with it.
  _, input_vjp = jax.vjp(lambda x: _quick(x, kernel, stride, padding), x)
  return *input_vjp(grad), _kernel_grad(x, grad, k, stride, padding)


_conv_cpu.defvjp(_forward, _backward)


def _kernel_grad(
  x: jax.Array, grad: jax.Array, k: int, stride: int, padding: int
) -> jax.Array:
  """Computes the kernel's gradient [k,k,C,D] from [B,H,W,C] and gradient [B,H',W',D].

  One matrix product sums over all pixels. Its left side holds the gradient shifted
  by each row of the kernel, its right side the image shifted by each column: k + k
  copies in place of k * k. Where the gradient is strided, or wider than k images,
  the image takes all shifts. The batch goes through in pieces that fit the cache.
  """
  batch, channels, dim = x.shape[0], x.shape[3], grad.shape[3]
  shared = stride == 1 and dim < k * channels
  rows, taps = (range(k), range(1)) if shared else (range(1), range(k))
  high, wide = grad.shape[1] + len(rows) - 1, grad.shape[2]

  def piece(x, grad):
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    last = stride * (high - 1) + 1, stride * (wide - 1) + 1
    shifted = [
      x[:, i : i + last[0] : stride, j : j + last[1] : stride]
      for i in taps
      for j in range(k)
    ]
    right = jnp.concatenate(shifted, axis=-1).reshape(-1, len(shifted) * channels)
    left = grad.reshape(-1, dim).T.reshape(dim, -1, *grad.shape[1:3])
    left = [
      jnp.pad(left, ((0, 0), (0, 0), (i, len(rows) - 1 - i), (0, 0))) for i in rows
    ]
    left = jnp.concatenate(left).reshape(len(rows) * dim, -1)
    return jnp.matmul(left.astype(jnp.float32), right.astype(jnp.float32))

  size = _divisor(batch, PIECE // max(x[0].size, grad[0].size))
  pieces = (
    x.reshape(batch // size, size, *x.shape[1:]),
    grad.reshape(batch // size, size, *grad.shape[1:]),
  )
  zeros = jnp.zeros((len(rows) * dim, len(taps) * k * channels), jnp.float32)
  total, _ = jax.lax.scan(lambda sum, p: (sum + piece(*p), None), zeros, pieces)
  total = total.reshape(len(rows), dim, len(taps), k, channels)
  total = total.transpose(0, 2, 3, 4, 1).reshape(k, k, channels, dim)
  return total.astype(grad.dtype)


def _divisor(n: int, at_most: int) -> int:
  """Finds the largest divisor of n that is not above `at_most`, or 1."""
  return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(1, at_most))
