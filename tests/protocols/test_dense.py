"""Segmentation and depth of a folder of scenes, by a run that learned from digits."""

import importlib
import json
import sys

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

sys.path.append(str(tiny.ROOT / "benchmarks"))
import command_line
import dense as scenes

import ssljax
from ssljax import data, sharding
from ssljax.data.dense import MASKS
from ssljax.protocols import dense, evaluate

ROWS = ["raw patches, centred", "random encoder", "trained encoder"]
FEW = {"steps": 8, "shown": 2, "size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  config = importlib.import_module("configs.mae_cifar10").get_config("smoke")
  config.evals.at_end = ()
  config.steps = 1
  ssljax.train_and_evaluate(config, folder)
  return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("scenes")
  scenes.write(folder, 12, 5)
  return folder


def protocol(name, run, folder, **numbers):
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  config.checkpoint, config.data.dir = str(run), str(folder)
  config[name].update(**FEW | numbers)
  return config


def test_segmentation_by_the_command_line_is_in_the_report(run, folder):
  numbers = [f"--config.segment.{k}={v}" for k, v in FEW.items()]
  code, output, errors = command_line.run(
    *("--config", "configs/eval/segment.py", f"--config.checkpoint={run}"),
    *(f"--config.data.dir={folder}", *numbers),
  )
  assert code == 0, errors
  assert "kNN, mIoU" in output
  (path,) = run.glob("evals/segment-*.json")
  result = json.loads(path.read_text())
  assert list(result["results"]) == ROWS
  assert result["numbers"]["classes"] == scenes.CLASSES
  for row, values in result["results"].items():
    assert list(values) == [
      *("knn_miou", "knn_pixel_accuracy"),
      *("linear_miou", "linear_pixel_accuracy"),
    ]
    assert all(0 <= x <= 100 for x in values.values())
    ious = result["by_class"][f"{row}, knn"]
    assert np.mean(list(ious.values())) == pytest.approx(values["knn_miou"])
  page = (run / "report.html").read_text()
  assert (path.with_suffix("") / "segmentation.png").exists()
  for words in (
    "Segmentation",
    "IoU by class",
    "What it sees on folder",
    "white has no",
  ):
    assert words in page


def test_depth_is_in_the_report_and_its_range_is_the_truths_own(run, folder, capsys):
  rows = ssljax.evaluate(protocol("depth", run, folder, scale=0.001))
  assert list(rows) == ROWS
  assert "depth.max_depth is 4, the greatest to learn from." in capsys.readouterr().out
  (path,) = run.glob("evals/depth-*.json")
  assert json.loads(path.read_text())["numbers"]["max_depth"] == 4
  for values in rows.values():
    assert list(values) == ["rmse", "abs_rel", "delta1"]
    assert 0 < values["rmse"] < 3
  assert (path.with_suffix("") / "depth.png").exists()
  page = (run / "report.html").read_text()
  assert "white is unknown" in page
  assert "AbsRel" in page


def test_figures_are_those_of_one_device(run, folder, tmp_path, monkeypatch):
  assert jax.device_count() == 8
  told = []
  for mesh in [sharding.make_mesh(jax.devices()[:count]) for count in (8, 1)]:
    with monkeypatch.context() as patched:
      patched.setattr(evaluate.sharding, "make_mesh", lambda mesh=mesh: mesh)
      config = protocol("segment", run, folder, steps=3, shown=0)
      told.append(ssljax.evaluate(config, tmp_path / str(mesh.size)))
  for row in ROWS:
    for name, value in told[0][row].items():
      assert told[1][row][name] == pytest.approx(value, abs=0.1), (row, name)


def test_a_class_beyond_those_that_are_named_is_refused(run, folder, tmp_path):
  with pytest.raises(
    ssljax.ConfigError, match=r"the mask of '.*png' has the class \d+, and segment\.cl"
  ):
    ssljax.evaluate(protocol("segment", run, folder, classes=2), tmp_path)


def test_numbers_that_are_no_class_do_not_count(folder):
  splits = data.with_truth(ConfigDict({"name": "folder", "dir": str(folder)}), MASKS)
  assert dense._count_classes(splits, 0, [255]) == scenes.CLASSES
  assert dense._count_classes(splits, 0, [*range(3, scenes.CLASSES), 255]) == 3
