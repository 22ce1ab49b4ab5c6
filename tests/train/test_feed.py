"""A set on the devices, gathered inside the step, is the set that the host feeds."""

import importlib
import types

import jax
import kill_and_resume
import numpy as np
import pytest
import tiny

import ssljax
from ssljax import sharding
from ssljax.checkpoint import Checkpoints
from ssljax.train import dispatch, feed


def smoke(**fields):
  config = importlib.import_module("configs.simclr_digits").get_config("smoke")
  config.evals.at_end = ()
  config.data.update(fields)
  return config


@pytest.mark.parametrize("devices", [1, 8])
def test_a_step_of_gathered_rows_is_that_of_the_host_s_batch_bit_for_bit(devices):
  built = tiny.parts("simclr")
  examples = tiny.batch()
  compiled, layout, mesh = tiny.program(built, devices)
  steps = dispatch.compile_steps(tiny.traced(built), layout, mesh, 1)
  # The set in another order than the batch, with examples that the batch leaves out.
  order = np.random.default_rng(0).permutation(24).astype(np.int32) % tiny.BATCH
  rows = np.int32([np.flatnonzero(order == i)[-1] for i in range(tiny.BATCH)])
  table = {name: x[order] for name, x in examples.items()}
  args = dispatch.put(1, {"row": rows[None]}, mesh, sharding.put_whole(table, mesh))
  state = jax.device_put(tiny.first_state(built), layout)
  program = steps.lower(state, *args).compile()
  assert tiny.collectives(program) == tiny.collectives(compiled)
  found = jax.device_get(program(state, *args))
  expected = tiny.step(built, tiny.first_state(built), devices)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_run_on_a_set_on_the_devices_may_be_cut_and_fed_by_the_host(
  tmp_path, monkeypatch
):
  ssljax.train_and_evaluate(smoke(on_device="no"), tmp_path / "host")
  cut = tmp_path / "cut"
  with monkeypatch.context() as patch:
    save = Checkpoints.save

    def strike(self, done, *arguments):
      save(self, done, *arguments)
      raise KeyError  # just after step 3

    patch.setattr(Checkpoints, "save", strike)
    with pytest.raises(KeyError):
      ssljax.train_and_evaluate(smoke(on_device="yes"), cut)
  ssljax.train_and_evaluate(smoke(on_device="yes"), cut)
  kill_and_resume.compare(tmp_path / "host", cut)


def placed(choice, monkeypatch, free, in_memory=True):
  monkeypatch.setattr(feed, "free_memory", lambda mesh: free)
  whole = {"image": np.zeros((10, 100), np.uint8)} if in_memory else None
  loader = types.SimpleNamespace(whole=whole, num_examples=10)
  return feed.place(choice, loader, sharding.make_mesh())


@pytest.mark.parametrize(
  ("choice", "free", "fits"),
  [
    ("auto", 8000, True),
    ("auto", 7999, False),
    ("auto", None, False),  # a device that does not tell, as a CPU
    ("no", 8000, False),
    ("yes", 1000, True),
    ("yes", None, True),
  ],
)
def test_a_set_lies_on_the_devices_where_it_fits(choice, free, fits, monkeypatch):
  table, note = placed(choice, monkeypatch, free)
  assert bool(table) == fits
  assert note.startswith("The 10 examples lie on the devices" if fits else "")
  assert placed(choice if choice != "yes" else "auto", monkeypatch, free, False) == (
    {},
    "",
  )


def test_what_cannot_lie_there_is_refused(monkeypatch):
  with pytest.raises(ssljax.ConfigError, match=r"set data\.in_memory=True"):
    placed("yes", monkeypatch, 8000, in_memory=False)
  with pytest.raises(ssljax.ConfigError, match="needs 1,000 bytes on every"):
    placed("yes", monkeypatch, 999)


def test_a_cpu_is_the_host_and_keeps_no_second_copy():
  assert feed.free_memory(sharding.make_mesh()) is None
