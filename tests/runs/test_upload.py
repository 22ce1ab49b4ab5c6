"""Runs whose folder lies in an object store, in fsspec's stand-ins for one."""

import json
import shutil
import threading

import numpy as np
import pytest
import tiny
from numpy.testing import assert_array_equal

import ssljax
from ssljax import command_line, encoder
from ssljax.fields import ConfigError, as_path, stores
from ssljax.runs import WriteError, upload

fsspec = pytest.importorskip("fsspec")
RUN = "memory://bucket/runs/one"


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """-> a function after which all of this process is as on another machine."""
  store = fsspec.filesystem("memory")
  store.store.clear()
  count = iter(range(9))

  def another(keep_disk=False):
    monkeypatch.setattr(stores, "_COPIES", {})
    if not keep_disk:
      monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{next(count)}"))
    return store

  monkeypatch.setattr(upload, "BEAT", 0.1)
  monkeypatch.setattr(upload, "PATIENCE", 0.3)
  another()
  return another


def config(steps):
  c = tiny.configs()["simclr_cifar10"].copy_and_resolve_references()
  c.steps, c.checkpoint.every_steps = steps, 2
  c.evals.update(every_epochs=0, at_end=())
  return c


def names(store, under="/bucket/runs/one"):
  return {name[len(under) + 1 :] for name in store.find(under)}


def test_a_run_goes_on_from_a_store_on_another_machine_bit_for_bit(machine, tmp_path):
  store = machine()
  ssljax.train_and_evaluate(config(2), RUN)
  sent = names(store)
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
  store = machine()
  ssljax.train_and_evaluate(config(2), RUN)
  machine()
  _, asked = command_line.load(str(tiny.ROOT / "configs/eval/geometry.py"))
  asked.checkpoint = RUN
  ssljax.evaluate(asked)
  assert "evals/geometry.json" in names(store)


def test_what_was_not_sent_goes_on_from_the_copy(machine, caplog):
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  path = as_path("memory://bucket/a")
  (path / "y").write_text("2")  # and the process is killed
  machine(keep_disk=True)
  assert as_path("memory://bucket/a") == path
  assert (path / "y").read_text() == "2"
  assert "holds what was not sent to memory://bucket/a" in caplog.text
  with upload.returned():
    pass
  assert store.cat_file("/bucket/a/y") == b"2"


def test_a_store_and_a_copy_that_both_changed_are_refused(machine):
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  (as_path("memory://bucket/a") / "y").write_text("2")
  store.pipe_file("/bucket/a/x", b"11")
  machine(keep_disk=True)
  with pytest.raises(ConfigError, match=r"so has its copy .*delete one"):
    as_path("memory://bucket/a")


def test_copies_follow_the_store_and_the_store_them(machine):
  store = machine()
  store.pipe({"/bucket/a/x": b"1", "/bucket/a/b/y": b"2"})
  path = as_path("memory://bucket/a")
  machine(keep_disk=True)
  store.rm_file("/bucket/a/x")
  store.pipe_file("/bucket/a/b/y", b"22")
  as_path("memory://bucket/a")
  assert not (path / "x").exists()
  assert (path / "b" / "y").read_text() == "22"
  (path / "b" / "y").unlink()
  (path / "z").write_text("3")
  (path / "half.tmp").write_text("4")
  with upload.returned():
    pass
  assert names(store, "/bucket/a") == {"z"}


def test_what_lies_below_alone_is_fetched_and_a_file_is_one(machine):
  store = machine()
  store.pipe({"/bucket/sets/one/x": b"1", "/bucket/sets/two/x": b"2"})
  root = as_path("memory://bucket/sets", below="two")
  assert [p.name for p in root.iterdir()] == ["two"]
  assert as_path("memory://bucket/sets/one/x").read_text() == "1"


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


def test_a_store_that_refuses_is_said_and_the_copy_is_whole(machine, monkeypatch):
  store = machine()
  path = as_path("memory://bucket/a")
  path.mkdir(parents=True)
  (path / "x").write_text("1")

  def refuse(*_):
    raise PermissionError("no right to write")

  monkeypatch.setattr(type(store), "put_file", refuse)
  with (
    pytest.raises(WriteError, match=f"could not be written .*all of it is in {path}"),
    upload.returned(),
  ):
    pass


def test_what_is_sent_in_the_middle_of_a_run(machine, monkeypatch):
  store = machine()
  monkeypatch.setattr(upload, "EVERY", 1)
  path = as_path("memory://bucket/a")
  with upload.uploaded(path):
    path.mkdir(parents=True)
    (path / "x").write_text("1")
    for _ in range(200):
      if store.exists("/bucket/a/x"):
        break
      threading.Event().wait(0.05)
    assert store.cat_file("/bucket/a/x") == b"1"


@pytest.mark.parametrize(
  ("address", "said"),
  [
    ("gs://bucket/../../home", "leads out of its folder"),
    ("nosuch://bucket/a", "is an address, which needs fsspec"),
  ],
)
def test_an_address_that_cannot_be_read_is_refused(machine, address, said):
  with pytest.raises(ConfigError, match=said):
    as_path(address)


def test_a_name_in_a_store_that_leads_out_is_refused(machine, monkeypatch):
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  bad = {"/bucket/a/../../../x": {"size": 1}}
  monkeypatch.setattr(type(store), "find", lambda *_, **__: bad)
  with pytest.raises(ConfigError, match="leads out of its folder"):
    as_path("memory://bucket/a")


def test_a_disk_too_small_is_said_before_anything_is_fetched(machine, monkeypatch):
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  usage = type("Usage", (), {"free": 0})
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
  with pytest.raises(ConfigError, match=r"takes 1 bytes, and .* has 0 free; set"):
    as_path("memory://bucket/a")


def test_a_recipe_is_not_fetched(machine):
  machine().pipe_file("/bucket/evil.py", b"raise SystemExit('executed')")
  with pytest.raises(ConfigError, match="is no file"):
    command_line.load("memory://bucket/evil.py")
