"""A run on raw canvases is the run on its pictures, and may go on as that."""

import importlib
import shutil

import numpy as np
import pytest
from kill_and_resume import compare
from ml_collections import ConfigDict
from PIL import Image

import ssljax
from ssljax.fields import ConfigError


def line(photos, prepared="", steps=4, **data):
  config = importlib.import_module("configs.simclr_folder").get_config("smoke")
  config.batch_size = 8
  config.steps = steps
  config.log_every = 1
  config.checkpoint.every_steps = 2
  config.evals.at_end = ()
  with config.unlocked():
    config.data.update(name="folder", dir=str(photos), in_memory=False, **data)
    if prepared:
      config.data.prepared = str(prepared)
  return config


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  rng = np.random.default_rng(0)
  for i in range(24):
    path = folder / "ab"[i % 2] / f"{i}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (18 + i, 24, 3), np.uint8)).save(path)
  for form in ("raw", "jpeg"):
    group = {"name": "folder", "dir": str(folder), "size": 16}
    config = {"evaluator": "prepare", "data": group, "prepare": {"form": form}}
    ssljax.evaluate(ConfigDict(config), folder.parent / form)
  return folder


@pytest.fixture(scope="module")
def runs(photos):
  """A run on pictures, and one that went on from its second step on canvases."""
  direct, changed = (photos.parent / name for name in ("direct", "changed"))
  ssljax.train_and_evaluate(line(photos), direct)
  shutil.copytree(direct, changed)
  shutil.rmtree(changed / "checkpoints" / "4")
  ssljax.train_and_evaluate(line(photos, photos.parent / "raw"), changed)
  return direct, changed


def test_a_run_goes_on_from_pictures_to_canvases_bit_for_bit(runs):
  direct, changed = runs
  assert "raw" in (changed / "config.json").read_text()
  compare(direct, changed)


def test_jpegs_are_another_run_s(photos, runs):
  jpegs = line(photos, photos.parent / "jpeg", lossy=True)
  with pytest.raises(ConfigError, match=r"data\.lossy"):
    ssljax.train_and_evaluate(jpegs, runs[0])


def test_a_protocol_reads_the_run_s_canvases_or_the_pictures_that_it_names(
  photos, runs
):
  knn = importlib.import_module("configs.eval.knn").get_config()
  knn.checkpoint = str(runs[1])
  knn.knn.k = (3,)
  on_canvases = ssljax.evaluate(knn)
  knn.data.dir = str(photos)
  shutil.rmtree(runs[1] / "evals" / "features")
  (photos.parent / "raw" / "prepared.json").rename(photos.parent / "away")
  assert ssljax.evaluate(knn) == on_canvases
  assert [p.name for p in (runs[1] / "evals").glob("*.json")] == ["knn.json"]
