"""Patches of a run in files, and asked for an answer for each pixel of scenes."""

import importlib
import json
import sys

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from PIL import Image

sys.path.append(str(tiny.ROOT / "benchmarks"))
import dense as scenes

import ssljax
from ssljax import command_line, data, sharding
from ssljax.data.dense import MASKS
from ssljax.protocols import dense, evaluate, tokens

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


def embed(run, pictures, **numbers):
  config = importlib.import_module("configs.eval.embed").get_config()
  config.checkpoint = str(run)
  config.data.update(name="folder", dir=str(pictures))
  config.embed.update(**numbers)
  return config


def write_pictures(folder, names):
  rng = np.random.default_rng(0)
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
  return folder


def test_patches_lie_in_one_file_in_the_order_of_the_features(run, tmp_path):
  pictures = write_pictures(tmp_path / "p", [f"{i}.png" for i in range(5)])
  whole = pictures / "3.png"
  whole.write_bytes(whole.read_bytes()[:60])  # its header says nothing of that
  out = tmp_path / "out"
  config = embed(run, pictures, tokens=True, rows=2)
  ssljax.evaluate(config, out)
  features = np.load(out / "features.npz")
  patches = np.load(out / "tokens.npy", mmap_mode="r")
  assert isinstance(patches, np.memmap)
  assert list(features["path"]) == ["0.png", "1.png", "2.png", "4.png"]
  assert patches.shape[0] == 4
  assert (out / "tokens.npy").stat().st_size == patches.offset + patches.nbytes
  pooled = np.asarray(patches).mean((1, 2))  # as this run pools its patches
  np.testing.assert_allclose(pooled, features["feature"], rtol=1e-4, atol=1e-5)
  # Stopped after the first part, it goes on behind it, whatever is there.
  before = np.array(patches)
  for part in sorted(out.glob("parts/*.npz"))[1:]:
    part.unlink()
  file = np.load(out / "tokens.npy", mmap_mode="r+")
  file[2:] = 0
  file.flush()
  kept = sorted(out.glob("parts/*.npz"))[0].stat().st_mtime_ns
  ssljax.evaluate(config, out)
  assert sorted(out.glob("parts/*.npz"))[0].stat().st_mtime_ns == kept
  np.testing.assert_array_equal(np.load(out / "tokens.npy"), before)
  # So it does where a part is damaged, and those behind it are made anew.
  parts = sorted(out.glob("parts/*.npz"))
  parts[0].write_bytes(parts[0].read_bytes()[:100])
  ssljax.evaluate(config, out)
  np.testing.assert_array_equal(np.load(out / "tokens.npy"), before)
  (out / "tokens.npy").unlink()
  with pytest.raises(
    ssljax.ConfigError, match=r"tokens\.npy lacks what .*parts/00000.npz"
  ):
    ssljax.evaluate(config, out)
  # Half as long, and of the block before.
  half = embed(run, pictures, tokens=True, dtype="float16", block="block0")
  ssljax.evaluate(half, tmp_path / "half")
  half = np.load(tmp_path / "half" / "tokens.npy", mmap_mode="r")
  assert (half.dtype, half.shape) == (np.float16, patches.shape)
  assert np.abs(half - before).max() > 0.01
  other = embed(run, pictures, tokens=True, block="block0")
  with pytest.raises(ssljax.ConfigError, match="holds features of other dtype; name"):
    ssljax.evaluate(other, tmp_path / "half")


def test_what_cannot_be_written_is_said(run, tmp_path):
  pictures = write_pictures(tmp_path / "p", ["0.png"])
  with pytest.raises(ssljax.ConfigError, match=r"embed\.block='block0' .* are: set --"):
    ssljax.evaluate(embed(run, pictures, block="block0"), tmp_path / "out")
  file = tokens.Tokens(tmp_path / "tokens.npy", "float16", 2)
  with pytest.raises(ssljax.ConfigError, match=r"up to 65504, and .* of 70000; set"):
    file.append(np.full((1, 2, 2, 3), 7e4, np.float32))


def test_segmentation_by_the_command_line_is_in_the_report(run, folder, capsys):
  numbers = [f"--config.segment.{k}={v}" for k, v in FEW.items()]
  line = [f"--config.checkpoint={run}", f"--config.data.dir={folder}", *numbers]
  _, config = command_line.load("configs/eval/segment.py")
  for path, text in command_line.split(line)[0]:
    command_line.override(config, path, text)
  ssljax.evaluate(config)
  assert "kNN, mIoU" in capsys.readouterr().out
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
