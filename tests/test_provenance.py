"""A run, its data and its results belong together."""

import importlib
import json
import shutil
import socket

import command_line
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import ssljax
from ssljax import provenance
from ssljax.checkpoint import Checkpoints
from ssljax.protocols import transfer
from ssljax.train import origin


def make(root, seed, classes=("cat", "dog"), count=24):
  rng = np.random.default_rng(seed)
  for name in classes:
    (root / name).mkdir(parents=True)
    for i in range(count):
      picture = rng.integers(0, 256, (8, 8, 3), np.uint8)
      Image.fromarray(picture).save(root / name / f"{i}.bmp")
  return root


def smoke(folder):
  config = importlib.import_module("configs.simclr_digits").get_config("smoke")
  config.data.update(name="folder", dir=str(folder))
  config.evals.at_end = ()
  return config


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """Pictures in "own", in "other" others of their names and sizes, a run on "own"."""
  home = tmp_path_factory.mktemp("home")
  make(home / "own", 0)
  make(home / "other", 1)
  ssljax.train_and_evaluate(smoke(home / "own"), home / "run")
  return home


def protocol(name, run, folder="", **fields):
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  config.checkpoint = str(run)
  config.data.dir = str(folder)
  config.update(fields)
  return config


def test_a_run_does_not_go_on_with_other_pictures(home, tmp_path, capsys):
  config_json = (home / "run" / "config.json").read_text()
  with pytest.raises(ssljax.ConfigError, match="on other data: the training split dif"):
    ssljax.train_and_evaluate(smoke(home / "other"), home / "run")
  assert (home / "run" / "config.json").read_text() == config_json
  shutil.copytree(home / "own", tmp_path / "m", copy_function=shutil.copyfile)
  config = smoke(tmp_path / "m")
  config.data.update(in_memory=False, workers=1)
  ssljax.train_and_evaluate(config, home / "run")
  assert "steps 6 to 6" in capsys.readouterr().out


def test_other_test_pictures_are_said_and_an_older_run_goes_on(home):
  with Checkpoints(home / "run") as checkpoints:
    meta = checkpoints.read_meta()
  known = meta["identity"]
  assert provenance.check(meta, known, home) == []
  changed = {**known, "eval": {**known["eval"], "names": "others"}}
  (said,) = provenance.check(meta, changed, home)
  assert "evaluation split differs in names" in said
  (said,) = provenance.check({"config": {}}, known, home)
  assert "does not say on which data" in said


def test_results_on_other_data_or_by_other_numbers_lie_beside_each_other(home):
  shutil.copytree(home / "run", home / "judged")
  run, evals = home / "judged", home / "judged" / "evals"
  knn = {"knn": {"k": 5, "temperature": 0.1}}
  files = lambda: {path.stem for path in evals.glob("*.json")}  # noqa: E731

  def ask(folder="", name="knn", **fields):
    config = protocol(name, run, folder)
    with config.ignore_type():
      config.update(fields)
    return ssljax.evaluate(config)

  own = ask(**knn)
  assert files() == {"knn"}
  ask(**knn)
  shutil.copytree(home / "own", home / "elsewhere" / "pics")
  assert ask(home / "elsewhere" / "pics", **knn) == own
  assert files() == {"knn"}  # the same question, three times
  ask(home / "other", **knn)
  ask(knn={"k": 3})
  assert files() == {"knn", "knn-other", "knn-k3"}
  shutil.copytree(home / "other", home / "elsewhere" / "other")
  shutil.rmtree(home / "elsewhere" / "other" / "cat")
  make(home / "elsewhere" / "other" / "more", 5, ("cat",))
  (home / "elsewhere" / "other" / "more" / "cat").rename(
    home / "elsewhere" / "other" / "cat"
  )
  (home / "elsewhere" / "other" / "more").rmdir()
  ask(home / "elsewhere" / "other", **knn)  # another folder of that name
  assert len(files()) == 4
  result = json.loads((evals / "knn.json").read_text())
  assert result["own_data"]
  assert result["results"] == own
  assert not json.loads((evals / "knn-other.json").read_text())["own_data"]


def test_features_do_not_outlive_the_pictures_they_are_of(home, tmp_path):
  shutil.copytree(home / "run", tmp_path / "run")
  shutil.copytree(home / "own", tmp_path / "own")
  config = protocol("linear", tmp_path / "run", tmp_path / "own")
  before = ssljax.evaluate(config)
  rng = np.random.default_rng(3)
  for path in (tmp_path / "own").rglob("*.bmp"):  # the same names and sizes
    picture = rng.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(np.maximum(picture, 255 * ("cat" in str(path)))).save(path)
  now = ssljax.evaluate(config)
  assert now["trained encoder"] != before["trained encoder"]
  assert now["raw pixels, centred"]["linear"] == 100  # white cats


def test_a_probe_is_of_the_pictures_it_is_asked_about(home, tmp_path):
  shutil.copytree(home / "run", tmp_path / "run")
  fields = {"epochs": 1, "batch_size": 8}
  folders = lambda: {p.parent.name for p in tmp_path.glob("run/evals/*/config.json")}  # noqa: E731
  config = protocol("linear_moco", tmp_path / "run", home / "own", training=fields)
  ssljax.evaluate(config)
  ssljax.evaluate(config)
  assert folders() == {"linear_moco"}
  assert (tmp_path / "run/evals/linear_moco" / origin.START).exists()
  for other in (
    {"data": {"dir": str(home / "other")}},
    {"data": {"held_out": 0.5}},
  ):
    before = folders()
    ssljax.evaluate(protocol("linear_moco", tmp_path / "run", training=fields, **other))
    assert len(folders()) == len(before) + 1, other


def test_features_in_a_file_are_not_mixed_with_those_of_other_pictures(home, tmp_path):
  shutil.copytree(home / "own", tmp_path / "own", copy_function=shutil.copyfile)
  ssljax.evaluate(protocol("embed", home / "run", home / "own"), tmp_path / "out")
  parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "parts").iterdir()}
  ssljax.evaluate(protocol("embed", home / "run", tmp_path / "own"), tmp_path / "out")
  assert all(path.stat().st_mtime_ns == time for path, time in parts.items())
  (tmp_path / "own" / "cat" / "0.bmp").rename(tmp_path / "own" / "dog" / "cat.bmp")
  with pytest.raises(ssljax.ConfigError, match="holds features of other pictures; nam"):
    ssljax.evaluate(protocol("embed", home / "run", tmp_path / "own"), tmp_path / "out")


def test_a_probe_of_a_checkpoint_that_was_replaced_is_another(tmp_path):
  config = ConfigDict({"pretrained": {"step": 6}, "data": {"name": "digits"}})
  assert transfer.answered(tmp_path, "6 of 2") is None
  (tmp_path / "config.json").write_text(config.to_json())
  assert transfer.answered(tmp_path, "6 of 2") == transfer.question(config, "6 of 2")
  (tmp_path / origin.START).write_text("6 of 1")
  assert transfer.answered(tmp_path, "6 of 2") == transfer.question(config, "6 of 1")
  assert transfer.question(config, "6 of 1") != transfer.question(config, "6 of 2")


def test_processes_that_read_other_data_are_refused_together(home, tmp_path):
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [
    command_line.start(
      "--config=configs/simclr_digits.py:smoke",
      "--config.data.name=folder",
      f"--config.data.dir={home / folder}",
      f"--workdir={tmp_path / 'run'}",
      JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(i),
    )
    for i, folder in enumerate(("own", "other"))
  ]
  try:
    told = [process.communicate(timeout=240) for process in processes]
  finally:
    for process in processes:
      process.kill()
  for _, errors in told:
    assert "error: process 1 reads other data than process 0: its" in errors
    assert "Traceback" not in errors
  assert not (tmp_path / "run" / "config.json").exists()
