"""A run's folder: one owner at a time, in the home that `~` is, where one can write."""

import errno
import fcntl
import importlib
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import ssljax
from ssljax import runs
from ssljax.runs import lock

OTHER = {"host": "far", "pid": 7, "since": "2026-11-26 09:00:00", "machine": "another"}
HOLD = """
import fcntl, json, os, pathlib, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
me = {"host": "here", "pid": os.getpid(), "since": "now", "machine": sys.argv[2]}
file.write(json.dumps(me)); file.flush()
print("held", flush=True)
time.sleep(600)
"""


def smoke(**fields):
  config = importlib.import_module("configs.simclr_digits").get_config("smoke")
  config.evals.at_end = ()
  config.update(fields)
  return config


def contents(folder):
  return {p: p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.fixture
def hasty(monkeypatch):
  monkeypatch.setattr(lock, "BEAT", 0.05)
  monkeypatch.setattr(lock, "PATIENCE", 0.5)


def test_of_two_runs_in_a_folder_the_second_is_refused_and_writes_nothing(tmp_path):
  with lock.owned(tmp_path / "run"):
    before = contents(tmp_path)
    sentence = rf"belongs to a run .*process {os.getpid()} on .*, since 2.*name another"
    with pytest.raises(ssljax.ConfigError, match=sentence) as raised:
      ssljax.train_and_evaluate(smoke(), tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert contents(tmp_path) == before
  assert not list(tmp_path.iterdir())  # of a run that wrote nothing nothing stays


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path):
  path, machine = tmp_path / lock.OWNER, lock._machine()
  line = [sys.executable, "-c", HOLD, str(path), machine]
  process = subprocess.Popen(line, stdout=subprocess.PIPE)
  try:
    process.stdout.readline()
    with pytest.raises(ssljax.ConfigError, match=f"process {process.pid} on here"):
      lock.Lock(tmp_path)
  finally:
    process.kill()
    process.communicate()
  assert json.loads(path.read_text())["pid"] == process.pid
  with lock.owned(tmp_path):
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_an_owner_on_another_machine_is_outlasted_only_when_it_is_dead(tmp_path, hasty):
  """As on a disk whose locks do not reach from one machine to another."""
  path = tmp_path / lock.OWNER
  path.write_text(json.dumps(OTHER))
  stop = threading.Event()
  beats = threading.Thread(
    target=lambda: [os.utime(path) for _ in iter(lambda: stop.wait(0.05), True)]
  )
  beats.start()
  try:
    with pytest.raises(ssljax.ConfigError, match=r"process 7 on far.*far is gone, del"):
      lock.Lock(tmp_path)
  finally:
    stop.set()
    beats.join()
  assert json.loads(path.read_text()) == OTHER
  lock.Lock(tmp_path).release()
  assert not path.exists()


def test_a_disk_that_locks_nothing_has_one_owner_all_the_same(
  tmp_path, hasty, monkeypatch
):
  def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", no_locks)
  refused = pytest.raises(ssljax.ConfigError, match="belongs to a run")
  with lock.owned(tmp_path), refused:
    lock.Lock(tmp_path)
  lock.Lock(tmp_path).release()


@pytest.mark.parametrize("name", ["/proc/nowhere", "file/run"])
def test_a_place_where_nothing_can_be_written_is_said_at_once(name, tmp_path):
  (tmp_path / "file").write_text("mine")
  sentence = r"workdir=\S+ cannot be written to \(N.*\); name another"
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.train_and_evaluate(smoke(), tmp_path / name)


@pytest.mark.parametrize(
  ("name", "why"),
  [("a [1]", r"takes \[ and \] for a pattern"), ("caf\udce9", "is no UTF-8")],
)
def test_a_name_that_checkpoints_cannot_have_is_said_at_once(name, why, tmp_path):
  with (
    pytest.raises(ssljax.ConfigError, match=why),
    lock.owned(tmp_path / name / "run"),
  ):
    pass
  assert not any(tmp_path.iterdir())


def test_a_tilde_is_home_wherever_a_path_is_named(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "elsewhere").mkdir()
  monkeypatch.chdir(tmp_path / "elsewhere")
  ssljax.train_and_evaluate(smoke(steps=1), "~/run")
  ssljax.train_and_evaluate(smoke(steps=1, seed=1), "~/other")
  started = smoke(steps=1, pretrained={"checkpoint": "~/run", "take": (".*",)})
  ssljax.train_and_evaluate(started, "~/started")
  image = np.zeros((1, 8, 8, 3), np.uint8)
  assert ssljax.load_encoder("~/run")(image).shape[0] == 1
  names = tmp_path / "pictures"
  for i in range(16):
    folder = names / ("train", "val")[i % 2] / str(i // 2 % 2)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / f"{i}.png")
  knn = importlib.import_module("configs.eval.knn").get_config()
  data = {"data.name": "folder", "data.dir": "~/pictures"}
  knn.update_from_flattened_dict({"checkpoint": "~/run", "knn.k": (1,), **data})
  ssljax.evaluate(knn, "~/evals")
  both = importlib.import_module("configs.eval.compare").get_config()
  both.runs = "~/run,~/other"
  ssljax.evaluate(both, "~/compared")
  assert not list((tmp_path / "elsewhere").iterdir())
  assert (tmp_path / "compared" / "compare.html").exists()
  assert list((tmp_path / "evals").glob("*.json"))


def test_the_home_of_nobody_is_named():
  with pytest.raises(ssljax.ConfigError, match="'~nobody_at_all/x' begins with no one"):
    ssljax.train_and_evaluate(smoke(), "~nobody_at_all/x")


def test_a_run_may_go_on_in_parts_and_so_may_one_from_before_there_were_any(tmp_path):
  stored = json.loads(smoke().to_json())
  del stored["microbatch"]
  (tmp_path / "config.json").write_text(json.dumps(stored))
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}')
  assert runs.check_same_run(smoke(microbatch=16), tmp_path)
  with pytest.raises(ssljax.ConfigError, match="seed=0 there, 1 here"):
    runs.check_same_run(smoke(seed=1), tmp_path)


def test_a_run_from_before_a_list_could_be_set_is_the_same_run(tmp_path):
  config = ConfigDict({"seed": 0, "resolution": ()})
  (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n')
  (tmp_path / "config.json").write_text('{"seed": 0}')
  assert runs.check_same_run(config, tmp_path)
  config.resolution = ((0.5, 16),)
  with pytest.raises(ssljax.ConfigError, match="resolution=None there"):
    runs.check_same_run(config, tmp_path)


def test_a_run_does_not_change_between_pictures_and_lossy_canvases(tmp_path):
  data = {"name": "folder", "lossy": True, "prepared": ""}
  config = ConfigDict({"seed": 0, "data": data})
  (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n')
  (tmp_path / "config.json").write_text(config.to_json())
  assert runs.check_same_run(config, tmp_path)
  config.data.prepared = "canvases"
  with pytest.raises(ssljax.ConfigError, match=r"data\.lossy canvases=False there, Tr"):
    runs.check_same_run(config, tmp_path)
  config.data.lossy = False
  (tmp_path / "config.json").write_text(config.to_json())
  config.data.prepared = ""  # raw ones hold the pictures themselves
  assert runs.check_same_run(config, tmp_path)
