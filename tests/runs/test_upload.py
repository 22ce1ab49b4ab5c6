"""Runs whose folder lies in an object store, in fsspec's stand-ins for one."""

import json
import threading

import numpy as np
import pytest
import tiny
from numpy.testing import assert_array_equal

import ssljax
from ssljax import command_line, encoder
from ssljax.fields import ConfigError, as_path
from ssljax.runs import WriteError, upload

RUN = "memory://bucket/runs/one"


def config(steps):
  c = tiny.configs()["simclr_cifar10"].copy_and_resolve_references()
  c.steps, c.checkpoint.every_steps = steps, 2
  c.evals.update(every_epochs=0, at_end=())
  return c


def test_a_run_goes_on_from_a_store_on_another_machine_bit_for_bit(machine, tmp_path):
  store = machine()
  ssljax.train_and_evaluate(config(2), RUN)
  sent = machine.names("/bucket/runs/one")
  assert {"config.json", "metrics.jsonl", "report.html"} <= sent
  assert any(name.startswith("checkpoints/2/") for name in sent)
  assert not any(name.endswith(("owner.json", ".claim.json")) for name in sent)
  machine()
  ssljax.train_and_evaluate(config(4), RUN)
  unbroken = tmp_path / "unbroken"
  for steps in (2, 4):
    ssljax.train_and_evaluate(config(steps), unbroken)
  machine()
  results = [
    [metrics["loss"] for metrics in map(json.loads, text.splitlines())]
    for text in (
      store.cat_file("/bucket/runs/one/metrics.jsonl").decode(),
      (unbroken / "metrics.jsonl").read_text(),
    )
  ]
  assert results[0] == results[1]
  pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
  features = [ssljax.load_encoder(run)(pictures) for run in (RUN, unbroken)]
  assert_array_equal(*features)
  assert encoder.steps(RUN) == encoder.steps(unbroken)


def test_what_a_protocol_finds_goes_to_the_store(machine):
  machine()
  ssljax.train_and_evaluate(config(2), RUN)
  machine()
  _, asked = command_line.load(str(tiny.ROOT / "configs/eval/geometry.py"))
  asked.checkpoint = RUN
  ssljax.evaluate(asked)
  assert "evals/geometry.json" in machine.names("/bucket/runs/one")


def test_a_run_of_this_machine_keeps_others_out_of_its_copy(machine):
  """Who judges it meanwhile sees the folder as it is, and sends nothing."""
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  path = as_path("memory://bucket/a")
  with upload.uploaded(path):
    machine(keep_disk=True)
    store.pipe_file("/bucket/a/x", b"2")
    assert (as_path("memory://bucket/a") / "x").read_text() == "1"
    (path / "y").write_text("of the run")
    with upload.returned():
      pass
    assert not store.exists("/bucket/a/y")
    with (
      pytest.raises(ConfigError, match="that is under way on this machine"),
      upload.uploaded(path),
    ):
      pass


def test_a_run_whose_folder_was_taken_sends_no_more(machine):
  store = machine()
  path = as_path("memory://bucket/a")

  def run():
    with upload.uploaded(path):
      path.mkdir(parents=True)
      (path / "x").write_text("1")
      store.pipe_file("/bucket/a/.claim.json", b"another")

  with pytest.raises(WriteError, match=r"belongs to another run now, .*another"):
    run()
  assert machine.names("/bucket/a") == {".claim.json"}


def test_what_ends_a_run_is_said_before_what_its_store_refuses(machine, monkeypatch):
  store = machine()
  path = as_path("memory://bucket/a")

  def refuse(*_):
    raise PermissionError("no right to write")

  def run():
    with upload.uploaded(path):
      path.mkdir(parents=True)
      (path / "x").write_text("1")
      monkeypatch.setattr(type(store), "put_file", refuse)
      raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    run()
  assert not store.exists("/bucket/a/.claim.json")


def test_a_run_elsewhere_keeps_others_out_until_it_is_dead(machine):
  store = machine()
  claim = "/bucket/a/.claim.json"
  store.pipe_file(claim, b"dead")
  with upload.uploaded(as_path("memory://bucket/a")):
    assert json.loads(store.cat_file(claim))["beats"] >= 1
  assert not store.exists(claim)
  over = threading.Event()
  store.pipe_file(claim, b"alive 0")

  def live(beats=0):
    while not over.wait(0.02):
      store.pipe_file(claim, b"alive %d" % (beats := beats + 1))

  thread = threading.Thread(target=live)
  thread.start()
  try:
    with (
      pytest.raises(ConfigError, match=r"belongs to a run that is under way .alive"),
      upload.uploaded(as_path("memory://bucket/a")),
    ):
      pass
  finally:
    over.set()
    thread.join()


def test_what_is_sent_in_the_middle_of_a_run(machine, monkeypatch):
  store = machine()
  monkeypatch.setattr(upload, "EVERY", 0.05)
  path = as_path("memory://bucket/a")
  with upload.uploaded(path):
    path.mkdir(parents=True)
    (path / "x").write_text("1")
    for _ in range(200):
      if store.exists("/bucket/a/x"):
        break
      threading.Event().wait(0.05)
    assert store.cat_file("/bucket/a/x") == b"1"


def test_a_recipe_is_not_fetched(machine):
  machine().pipe_file("/bucket/evil.py", b"raise SystemExit('executed')")
  with pytest.raises(ConfigError, match="is no file"):
    command_line.load("memory://bucket/evil.py")
