"""A run says what it waits for, chooses a dispatch's steps, traces some of them."""

import importlib
import itertools
import json
import re
import time

import jax
import kill_and_resume
import numpy as np
import pytest

import ssljax
from ssljax.checkpoint import Checkpoints
from ssljax.data import reader
from ssljax.data.digits import Digits
from ssljax.train import dispatch, loop, pace, peaks


def smoke(name, **fields):
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.evals.at_end = ()
  config.update(fields)
  return config


def slow(seconds):
  def get(self, index):
    time.sleep(seconds)
    return {"image": self.images[index], "label": int(self.labels[index])}

  return get


def test_a_trace_and_slow_data_change_nothing_and_are_told_once(
  tmp_path, monkeypatch, capsys
):
  config = smoke("simclr_digits", log_every=1, steps=14)
  config.checkpoint.every_steps = 100  # after a save it is clocked anew
  ssljax.train_and_evaluate(config, tmp_path / "plain")
  assert "waits for its data" not in capsys.readouterr().out
  monkeypatch.setattr(pace, "WINDOW", 0.0)
  monkeypatch.setattr(reader, "_memory", lambda reader: (2**40, 2**39))
  monkeypatch.setattr(Digits, "__getitem__", slow(0.02))
  config.profile = (1, 2)
  config.data.update(in_memory=False, workers=1)  # some batches ahead of the first step
  ssljax.train_and_evaluate(config, tmp_path / "slow")
  said = capsys.readouterr().out
  (sentence,) = (s for s in said.splitlines() if "waits for its data" in s)
  numbers = re.search(
    r"reads ([\d,]+) .* could train on ([\d,]+); set data.w", sentence
  )
  reads, could = (int(number.replace(",", "")) for number in numbers.groups())
  assert reads < could
  assert kill_and_resume.metrics(tmp_path / "slow") == kill_and_resume.metrics(
    tmp_path / "plain"
  )
  (trace,) = (tmp_path / "slow" / "profile").rglob("*.xplane.pb")
  assert trace.stat().st_size > 1000
  assert f"The trace of steps 2 to 3 is in {tmp_path / 'slow' / 'profile'}." in said


def test_steps_of_a_dispatch_are_chosen_by_the_clock_and_kept(tmp_path, monkeypatch):
  config = smoke("mae_cifar10", log_every=3)
  ssljax.train_and_evaluate(config, tmp_path / "one")
  monkeypatch.setattr(dispatch, "loops_well", lambda: True)
  monkeypatch.setattr(loop, "MEASURED", 2)
  chosen = []

  def choose(self, most, left):
    chosen.append((most, left))
    return 2, "Two from here on."

  monkeypatch.setattr(pace.Pace, "steps_per_dispatch", choose)
  with monkeypatch.context() as patch:
    save = Checkpoints.save

    def strike(self, done, *arguments):
      save(self, done, *arguments)
      raise KeyError  # just after step 3

    patch.setattr(Checkpoints, "save", strike)
    with pytest.raises(KeyError):
      ssljax.train_and_evaluate(config, tmp_path / "chosen")
  ssljax.train_and_evaluate(config, tmp_path / "chosen")
  assert chosen == [(3, 4)]  # not again
  with Checkpoints(tmp_path / "chosen") as checkpoints:
    assert checkpoints.read_meta()["steps_per_dispatch"] == 2  # nor at a third start
  computed = json.loads((tmp_path / "chosen" / "about.json").read_text())["computed"]
  assert computed["steps_per_dispatch"] == 2
  folders = tmp_path / "one", tmp_path / "chosen"
  for one, other in zip(*map(kill_and_resume.metrics, folders), strict=True):
    assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(
  ("milliseconds", "left", "k"),
  [(1, 10**6, 30), (0.1, 10**7, 50), (4, 10**6, 8), (6, 10**6, 1), (1, 10**5, 1)],
)
def test_several_steps_a_dispatch_where_they_are_short_and_many(milliseconds, left, k):
  clock = pace.Pace(8, str, since=0.0)
  clock.done.extend((1e-3 * milliseconds * i, 1) for i in range(6))
  assert clock.steps_per_dispatch(50, left)[0] == k


def test_data_that_come_in_time_are_not_complained_of(monkeypatch):
  monkeypatch.setattr(pace, "WINDOW", 0.0)
  clock = pace.Pace(8, "{:.1f}".format, since=0.0)
  step = jax.jit(lambda x: x + 1)
  for _ in clock.waits(iter(range(3))):
    clock.dispatched(1, step(np.float32(0)))
    time.sleep(0.01)
    assert clock.complaint() == ""


def test_a_dispatch_ends_at_every_mark():
  counts = dispatch.counts(0, 20, 4, (10,), (-1, 3, 5))
  assert list(itertools.accumulate(counts)) == [3, 5, 9, 10, 14, 18, 20]


@pytest.mark.parametrize(
  ("kind", "teraflops"),
  [
    ("NVIDIA H100 80GB HBM3", 989),
    ("NVIDIA H100 PCIe", 756),
    ("NVIDIA A100-SXM4-80GB", 312),
    ("NVIDIA L40S", 0),
    ("TPU v5 lite", 197),
    ("TPU v5p", 459),
    ("cpu", 0),
  ],
)
def test_a_peak_is_known_by_the_device_s_kind(kind, teraflops):
  assert peaks.peak(kind) == teraflops * 1e12
