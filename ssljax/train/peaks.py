"""What devices can do at most, by what they call themselves."""

from typing import Any

from jax.sharding import Mesh

from ssljax.train import flops

# FLOP/s of dense bfloat16 products (float16 on a V100, which has no others), from the
# data sheets of NVIDIA and the pages of Google Cloud on each TPU.
PEAKS = {  # the first that a device's kind begins with
  "NVIDIA H100 PCIe": 756e12,
  "NVIDIA H100 NVL": 835e12,
  "NVIDIA H100": 989e12,
  "NVIDIA H200": 989e12,
  "NVIDIA GH200": 989e12,
  "NVIDIA A100": 312e12,
  "Tesla V100": 125e12,
  "NVIDIA L4": 121e12,
  "NVIDIA GeForce RTX 4090": 165e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5e": 197e12,
  "TPU v5": 459e12,
  "TPU v5p": 459e12,
  "TPU v6": 918e12,
  "TPU v6e": 918e12,
}


def peak(kind: str) -> float:
  """Finds the peak FLOP/s of a kind of device; 0: it is not known."""
  is_of = lambda name: kind == name or kind.startswith((f"{name} ", f"{name}-"))  # noqa: E731
  return next((flops for name, flops in PEAKS.items() if is_of(name)), 0.0)


def work(jaxpr: Any, batch_size: int, mesh: Mesh) -> tuple[float, float]:
  """Counts the FLOPs of an example in a step, and the FLOP/s of all devices at peak.

  The peak is 0 where it is not known, or where most of the step is not in bfloat16;
  both are on CPUs.
  """
  device = mesh.devices.flat[0]
  if device.platform == "cpu":
    return 0.0, 0.0
  counts = flops.count(jaxpr)
  total = flops.total(counts)
  narrow = counts.get("bfloat16", 0) > total / 2
  most = mesh.size * peak(device.device_kind) if narrow else 0.0
  return total / batch_size, most
