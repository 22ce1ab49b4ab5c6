"""The kernel gradient of ResNet-18's CIFAR layers on a CPU: ours, lax's, PyTorch's.

    python benchmarks/conv.py --images 64 --width 64

PyTorch's is its `torch.nn.grad.conv2d_weight`.
"""

import common
import jax
import numpy as np

from ssljax.nets import conv

torch_peers = common.peer("torch_peers")


def gradient(convolve, x, kernel, grad):
  """-> a function that computes the gradient by the kernel alone."""

  @jax.jit
  def by_kernel(x, grad):
    return jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](grad)

  x, grad = jax.device_put((x, grad))
  return lambda: jax.block_until_ready(by_kernel(x, grad))


def measure(images, channels, features, size, k, stride, repeats):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(images, size, size, channels)).astype(np.float32)
  kernel = np.zeros((k, k, channels, features), np.float32)
  out = size // stride
  grad = rng.normal(size=(images, out, out, features)).astype(np.float32)
  ours, lax = (
    gradient(lambda x, w, f=f: f(x, w, stride, k // 2), x, kernel, grad)
    for f in (conv.conv2d, conv._conv)
  )
  theirs = torch_peers and torch_peers.kernel_grad(x, grad, k, stride)
  case = f"kernel gradient, {k}x{k}/{stride} {channels} -> {features}, {size} pixels"
  peers = {"lax": lax, "PyTorch (CPU)": theirs}
  common.compare(case, ours, peers, repeats, images=images)


def main():
  args = common.arguments(
    __doc__,
    images=(64, 2, "of a batch"),
    width=(64, 4, "channels of the first stage"),
    repeats=(9, 1, "of each"),
  )
  w = args.width
  layers = [(3, w, 32, 3, 1), (w, w, 32, 3, 1), (w, 2 * w, 32, 3, 2)]
  layers += [(w, 2 * w, 32, 1, 2)]
  layers += [(w << i, w << i, 32 >> i, 3, 1) for i in (1, 2, 3)]
  for layer in layers:
    measure(args.images, *layer, args.repeats)


if __name__ == "__main__":
  main()
