"""Times the kernel gradient of ResNet-18's CIFAR layers on a CPU: ours and lax's.

python benchmarks/conv.py --images 64 --width 64
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

from ssljax.nets import conv


def median_ms(f, *args, repeats: int = 5) -> float:
  """CPU time, so that other work on the machine counts little."""
  f = jax.jit(f)
  jax.block_until_ready(f(*args))
  times = []
  for _ in range(repeats):
    start = time.process_time()
    jax.block_until_ready(f(*args))
    times.append(time.process_time() - start)
  return statistics.median(times) * 1e3


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--images", type=int, default=64)
  parser.add_argument("--width", type=int, default=64)
  args = parser.parse_args()
  w = args.width
  layers = [(3, w, 32, 3, 1), (w, w, 32, 3, 1), (w, 2 * w, 32, 3, 2)]
  layers += [(w, 2 * w, 32, 1, 2)]
  layers += [(2**i * w, 2**i * w, 32 >> i, 3, 1) for i in (1, 2, 3)]
  print("  layer                      forward    lax   ours  (ms of CPU)")
  for channels, features, size, k, stride in layers:
    x = jax.random.normal(jax.random.key(0), (args.images, size, size, channels))
    kernel = jax.random.normal(jax.random.key(1), (k, k, channels, features))

    def forward(x, kernel, stride=stride, k=k):
      return conv._conv(x, kernel, stride, k // 2)

    def theirs(x, grad, kernel=kernel, forward=forward):
      return jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](grad)

    def ours(x, grad, stride=stride, k=k):
      return conv._kernel_grad(x, grad, k, stride, k // 2)

    grad = jnp.ones_like(forward(x, kernel))
    row = median_ms(forward, x, kernel), median_ms(theirs, x, grad)
    row += (median_ms(ours, x, grad),)
    name = f"{k}x{k}/{stride} {channels} -> {features} on {size}x{size}"
    print(f"  {name:27s}" + "".join(f"{ms:7.1f}" for ms in row), flush=True)


if __name__ == "__main__":
  main()
