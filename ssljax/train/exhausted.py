"""What a run says where a device has no room for its step."""

import re

import jax
from ml_collections import ConfigDict

from ssljax.runs import RunError

ASKED = re.compile(r"allocat\w* ([\d.]*\d) ?([KMGT]?)")  # of GPUs, TPUs, CPUs
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SPARE = 0.9  # of what is free; the rest is lost between arrays


class OutOfMemoryError(RunError):
  """A device has no room; the message says how much was asked, and what would fit."""


def explained(
  error: jax.errors.JaxRuntimeError | MemoryError, config: ConfigDict
) -> OutOfMemoryError | None:
  """Says in a sentence what an error of memory means; None: another error.

  What a step takes beside the state grows with the examples that pass the networks at
  once. As many of them would fit as what was asked for goes into what is free; half,
  where the device does not tell.
  """
  if isinstance(error, MemoryError):
    return OutOfMemoryError(
      f"this machine has no memory for batch_size={config.batch_size} examples of "
      f"data.size={config.data.size} ({error or 'it does not say how much'}); set less"
    )
  text = str(error)
  if "RESOURCE_EXHAUSTED" not in text:
    return None
  rows = config.get("microbatch", 0) or config.batch_size
  free, asked = _free(), _asked(text)
  share = min(SPARE * free / asked, 0.5) if free and asked else 0.5
  most, devices = int(rows * share), jax.device_count()
  fits = (n for n in range(most, 0, -1) if rows % n == 0 and n % devices == 0)
  fit = next(fits, 0)
  wanted = f"{asked / 2**30:.1f} GiB more" if asked else "more"
  has = f", and {free / 2**30:.1f} are free" if free else ""
  return OutOfMemoryError(
    f"a device has no room for {rows} examples at once (batch_size="
    f"{config.batch_size}): it was asked for {wanted}{has}. "
    f"{_smaller(fit)}encoder.remat, more devices, or split_state"
  )


def _smaller(fit: int) -> str:
  """Names the batch that would fit; 0: none that the devices divide."""
  if not fit:
    return "Take "
  return (
    f"--config.microbatch={fit} would fit and is the same run, where its batch "
    f"can be encoded in parts; else take --config.batch_size={fit}, "
  )


def _asked(text: str) -> int:
  """Finds how many bytes XLA could not get; 0: it does not say."""
  if not (found := ASKED.search(text)):
    return 0
  return int(float(found[1]) * UNITS.get(found[2], 1))


def _free() -> int:
  """Computes the bytes that are free on the fullest device; 0: it does not tell."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  free = [s.get("bytes_limit", 0) - s.get("bytes_in_use", 0) for s in stats]
  return max(0, min(free))
