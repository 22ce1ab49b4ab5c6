"""Copies of what lies in an object store, in fsspec's stand-in for one."""

import pathlib
import shutil

import pytest

from ssljax.fields import ConfigError, as_path, stores
from ssljax.runs import WriteError, upload


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
  (as_path("memory://bucket/a") / "x").write_text("2")
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
  stores.COPIES["memory://bucket/a"].send()
  assert machine.names("/bucket/a") == {"z"}


def test_a_folder_that_the_store_no_longer_has_goes(machine):
  store = machine()
  store.pipe_file("/bucket/a/b/c/x", b"1")
  path = as_path("memory://bucket/a")
  store.rm_file("/bucket/a/b/c/x")
  machine(keep_disk=True)
  as_path("memory://bucket/a")
  assert not path.exists()


def test_a_fetch_that_breaks_off_sends_nothing_and_goes_on(machine, monkeypatch):
  store = machine()
  store.pipe({"/bucket/a/x": b"0123456789", "/bucket/a/y": b"1"})

  def broken(self, far, near, **_):
    pathlib.Path(near[0]).write_bytes(b"012")
    raise TimeoutError("cut")

  with monkeypatch.context() as cut:
    cut.setattr(type(store), "get", broken)
    with (
      pytest.raises(ConfigError, match=r"cannot be read .TimeoutError: cut"),
      upload.returned(),
    ):
      as_path("memory://bucket/a")
  assert store.cat_file("/bucket/a/x") == b"0123456789"
  machine(keep_disk=True)
  path = as_path("memory://bucket/a")
  assert (path / "x").read_bytes() == b"0123456789"


def test_killed_before_what_was_sent_is_noted_it_goes_on(machine, monkeypatch):
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  path = as_path("memory://bucket/a")
  (path / "metrics.jsonl").write_text("one line")
  with monkeypatch.context() as killed:
    killed.setattr(stores.Copy, "_note", lambda *_: None)
    with upload.returned():
      pass
  (path / "metrics.jsonl").write_text("one line, and more")
  machine(keep_disk=True)
  as_path("memory://bucket/a")
  with upload.returned():
    pass
  assert store.cat_file("/bucket/a/metrics.jsonl") == b"one line, and more"


def test_others_results_and_unsent_lines_go_together(machine):
  """A run was killed with unsent lines, and its checkpoint was judged elsewhere."""
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  path = as_path("memory://bucket/a")
  (path / "metrics.jsonl").write_text("unsent")
  store.pipe_file("/bucket/a/evals/knn.json", b"{}")
  machine(keep_disk=True)
  as_path("memory://bucket/a")
  assert (path / "metrics.jsonl").read_text() == "unsent"
  assert (path / "evals" / "knn.json").read_text() == "{}"


def test_a_store_keeps_a_whole_checkpoint_while_others_are_pruned(machine, monkeypatch):
  store = machine()
  path = as_path("memory://bucket/a")

  def save(step):
    for name in ("a", "b"):
      (path / "checkpoints" / str(step)).mkdir(parents=True, exist_ok=True)
      (path / "checkpoints" / str(step) / name).write_text(str(step))

  save(10)
  copy = stores.COPIES["memory://bucket/a"]
  copy.send()
  save(20)
  put = type(store).put_file

  def prune(self, near, far):
    shutil.rmtree(path / "checkpoints" / "20", ignore_errors=True)
    shutil.rmtree(path / "checkpoints" / "10", ignore_errors=True)
    save(30)
    put(self, near, far)

  with monkeypatch.context() as slow:
    slow.setattr(type(store), "put_file", prune)
    copy.send()
  assert {f"checkpoints/20/{name}" for name in "ab"} <= machine.names("/bucket/a")
  copy.send()
  assert machine.names("/bucket/a") == {f"checkpoints/30/{name}" for name in "ab"}


def test_metrics_are_sent_before_the_checkpoints_they_lead_to(machine, monkeypatch):
  store = machine()
  path = as_path("memory://bucket/a")
  (path / "checkpoints" / "2").mkdir(parents=True)
  for name in ("checkpoints/2/x", "config.json", "metrics.jsonl"):
    (path / name).write_text("1")
  sent, put = [], type(store).put_file
  monkeypatch.setattr(
    type(store),
    "put_file",
    lambda self, near, far: sent.append(far) or put(self, near, far),
  )
  with upload.returned():
    pass
  assert [name.rpartition("/")[2] for name in sent] == [
    "config.json",
    "metrics.jsonl",
    "x",
  ]


def test_an_address_inside_another_is_in_its_copy(machine):
  store = machine()
  store.pipe_file("/bucket/a/evals/x", b"1")
  below = as_path("memory://bucket/a/evals")
  machine(keep_disk=True)
  (below / "y").write_text("unsent")
  path = as_path("memory://bucket/a")
  assert as_path("memory://bucket/a/evals") == path / "evals" == below
  assert {p.name for p in below.iterdir()} == {"x", "y"}


def test_names_that_look_half_written_are_those_inside(machine):
  store = machine()
  store.pipe_file("/bucket/exp.tmp/photo.tmpl.jpg", b"1")
  path = as_path("memory://bucket/exp.tmp")
  assert (path / "photo.tmpl.jpg").exists()
  machine(keep_disk=True)
  assert (as_path("memory://bucket/exp.tmp") / "photo.tmpl.jpg").exists()


def test_what_someone_tidied_away_in_the_store_is_no_trouble(machine):
  store = machine()
  store.pipe_file("/bucket/a/x", b"1")
  path = as_path("memory://bucket/a")
  (path / "x").unlink()
  store.rm_file("/bucket/a/x")
  stores.COPIES["memory://bucket/a"].send()
  assert not store.find("/bucket/a")


def test_what_is_removed_while_it_is_sent_is_passed_over(machine, monkeypatch):
  store = machine()
  path = as_path("memory://bucket/a")
  path.mkdir(parents=True)
  for name in "xyz":
    (path / name).write_text(name)
  put = type(store).put_file

  def remove(self, near, far):
    (path / "y").unlink(missing_ok=True)
    put(self, near, far)

  monkeypatch.setattr(type(store), "put_file", remove)
  with upload.returned():
    pass
  assert machine.names("/bucket/a") == {"x", "z"}


def test_a_long_address_and_one_without_sizes(machine, monkeypatch):
  store = machine()
  long = f"bucket/{'d' * 150}/{'e' * 150}"
  store.pipe_file(f"/{long}/x", b"1")
  assert (as_path(f"memory://{long}") / "x").exists()
  monkeypatch.setattr(type(store), "info", lambda *_, **__: {"size": None})
  monkeypatch.setattr(type(store), "isfile", lambda *_: True)
  with pytest.raises(ConfigError, match="has no size"):
    as_path("memory://bucket/file")


def test_what_lies_below_alone_is_fetched_and_a_file_is_one(machine):
  store = machine()
  store.pipe({"/bucket/sets/one/x": b"1", "/bucket/sets/two/x": b"2"})
  root = as_path("memory://bucket/sets", below="two")
  assert [p.name for p in root.iterdir()] == ["two"]
  assert as_path("memory://bucket/sets/one/x").read_text() == "1"


@pytest.mark.parametrize(
  "error",
  [PermissionError("no right to write"), FileNotFoundError("there is no such bucket")],
)
def test_a_store_that_refuses_is_said_with_its_copy(machine, monkeypatch, error):
  store = machine()
  path = as_path("memory://bucket/a")
  path.mkdir(parents=True)
  (path / "x").write_text("1")

  def refuse(*_):
    raise error

  monkeypatch.setattr(type(store), "put_file", refuse)
  with (
    pytest.raises(WriteError, match=f"could not be .*{error}.*all of it is in {path}"),
    upload.returned(),
  ):
    pass


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
