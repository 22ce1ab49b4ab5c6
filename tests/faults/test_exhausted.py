"""A device without room for a step: one sentence, with a number that would fit."""

import jax
import pytest

import ssljax
import ssljax.train
from configs import simclr_digits
from ssljax.train import exhausted

GPU = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes."
NEWER = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 32.00GiB."
TPU = (
  "RESOURCE_EXHAUSTED: Attempting to allocate 32.00G. That was not possible. There are "
  "8.00G free.; (0x0x0_HBM0)"
)
SILENT = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm."


def fails(text, monkeypatch, tmp_path, **fields):
  """What a run says whose step fails so."""

  def train(*_):
    raise jax.errors.JaxRuntimeError(text)

  monkeypatch.setattr(ssljax.train, "train", train)
  config = simclr_digits.get_config("smoke")
  config.update(fields)
  with pytest.raises(Exception, match=r".") as raised:
    ssljax.train_and_evaluate(config, tmp_path / "run")
  return raised.value


@pytest.mark.parametrize("text", [GPU, NEWER, TPU])
@pytest.mark.parametrize(
  ("free", "batch", "fit"),
  [(8, 1024, 128), (24, 1024, 512), (1, 1024, 16), (8, 96, 16), (0, 1024, 512)],
)
def test_what_would_fit_is_what_is_free_of_what_was_asked(
  text, free, batch, fit, monkeypatch, tmp_path
):
  """In proportion: 0.9 of 8 of 32 GiB hold 230 of 1024, and 128 divide them."""
  monkeypatch.setattr(exhausted, "_free", lambda: free * 2**30)
  error = fails(text, monkeypatch, tmp_path, batch_size=batch)
  assert isinstance(error, ssljax.RunError)
  assert f"no room for {batch} examples at once" in str(error)
  assert "asked for 32.0 GiB more" in str(error)
  assert f"--config.microbatch={fit} would fit" in str(error)
  assert (f", and {free}.0 are free" in str(error)) == bool(free)


def test_a_part_of_the_batch_is_halved_where_nothing_is_told(monkeypatch, tmp_path):
  error = fails(SILENT, monkeypatch, tmp_path, batch_size=64, microbatch=32)
  assert "no room for 32 examples at once (batch_size=64)" in str(error)
  assert "--config.microbatch=16 would fit" in str(error)


def test_what_the_devices_do_not_divide_is_not_proposed(monkeypatch, tmp_path):
  error = fails(SILENT, monkeypatch, tmp_path, batch_size=24)
  assert "--config.microbatch=8 would fit" in str(error)  # not 12: of eight devices
  error = fails(SILENT, monkeypatch, tmp_path, batch_size=8)
  assert "microbatch" not in str(error)
  assert "Take encoder.remat, more devices, or split_state" in str(error)


def test_a_batch_that_this_machine_cannot_hold_is_said(monkeypatch, tmp_path):
  def zeros(*_):
    raise MemoryError("Unable to allocate 894. GiB")

  monkeypatch.setattr(ssljax.train.data, "zeros", zeros)
  config = simclr_digits.get_config("smoke")
  with pytest.raises(
    ssljax.RunError, match=r"no memory for batch_size=32 .* 894\. GiB"
  ):
    ssljax.train_and_evaluate(config, tmp_path / "run")


def test_another_error_stays_what_it_is(monkeypatch, tmp_path):
  error = fails("INTERNAL: a bug", monkeypatch, tmp_path)
  assert isinstance(error, jax.errors.JaxRuntimeError)
