"""Protocols that write files or read several checkpoints; the rest: test_encoder.py."""

import importlib
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import ssljax
from ssljax import encoder, figures, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.evals import geometry
from ssljax.protocols import embed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A smoke run with checkpoints at steps 3 and 6."""
  folder = tmp_path_factory.mktemp("run")
  config = importlib.import_module("configs.mae_cifar10").get_config("smoke")
  config.evals.at_end = ()
  ssljax.train_and_evaluate(config, folder)
  return folder


def protocol(name, run, **fields):
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  config.checkpoint = str(run)
  config.update(fields)
  return config


def test_features_of_a_folder_lie_in_one_file_beside_their_paths(run, tmp_path):
  rng = np.random.default_rng(0)
  pictures = tmp_path / "pictures"
  for name in ("a/1.png", "a/2.png", "a/3.png", "b/4.png", "b/5.png"):
    (pictures / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(pictures / name)
  (pictures / "b" / "broken.png").write_bytes(b"no picture")
  config = protocol("embed", run, data={"name": "folder", "dir": str(pictures)})
  config.embed.rows = 2
  out = tmp_path / "out"
  ssljax.evaluate(config, out)
  found = np.load(out / "features.npz")
  assert sorted(found["path"]) == [
    "a/1.png",
    "a/2.png",
    "a/3.png",
    "b/4.png",
    "b/5.png",
  ]
  assert set(found["split"]) == {"train", "eval"}
  encode = ssljax.load_encoder(run)
  for feature, label, path in zip(
    found["feature"], found["label"], found["path"], strict=True
  ):
    image = np.asarray(Image.open(pictures / path))[None]
    np.testing.assert_allclose(feature, encode(image)[0], rtol=1e-3, atol=1e-4)
    assert label == "ab".index(path[0])
  # Stopped in between, it goes on: the parts that are there are not made again.
  parts = sorted(out.glob("parts/*.npz"))
  kept = parts[0].stat().st_mtime_ns
  parts[-1].unlink()
  ssljax.evaluate(config, out)
  assert parts[0].stat().st_mtime_ns == kept
  np.testing.assert_array_equal(np.load(out / "features.npz")["path"], found["path"])
  config.embed.format = "parquet"
  ssljax.evaluate(config, out)
  table = parquet.read_table(out / "features.parquet")
  assert table["path"].to_pylist() == list(found["path"])
  np.testing.assert_array_equal(table["feature"].to_pylist(), found["feature"])
  with pytest.raises(ssljax.ConfigError, match="holds features of other data and "):
    ssljax.evaluate(protocol("embed", run, embed=config.embed), out)


DAMAGES = {
  "cut": lambda text: text[:1000],
  "emptied": lambda text: b"",
  "zeroed": lambda text: bytes(len(text)),
  "flipped": lambda text: text[:200] + bytes([text[200] ^ 1]) + text[201:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_and_made_anew(damage, run, tmp_path, caplog):
  config = protocol("embed", run)
  config.embed.rows = 256
  ssljax.evaluate(config, tmp_path)
  with np.load(tmp_path / "features.npz") as found:
    before = dict(found)
  parts = sorted(tmp_path.glob("parts/*.npz"))
  assert len(parts) > 2
  parts[1].write_bytes(DAMAGES[damage](parts[1].read_bytes()))
  others = [path.stat().st_mtime_ns for path in parts if path != parts[1]]
  ssljax.evaluate(config, tmp_path)
  assert f"{parts[1]} is damaged (" in caplog.text
  with np.load(tmp_path / "features.npz") as found:
    for name, x in found.items():
      np.testing.assert_array_equal(x, before[name])
  assert others == [path.stat().st_mtime_ns for path in parts if path != parts[1]]
  path = tmp_path / "embed.json"
  path.write_bytes(DAMAGES[damage](path.read_bytes())[:60])
  sentence = r"embed\.json is damaged \(.*\) and no longer .*; delete it and .*/parts, "
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.evaluate(config, tmp_path)


def test_a_probe_of_each_fold_says_how_much_they_differ(run, tmp_path):
  """Of `digits`, whose places are their numbers."""
  numbers = np.random.default_rng(0).permutation(1437).reshape(3, -1)
  np.savetxt(tmp_path / "folds.txt", numbers, "%d")
  linear = {"folds": str(tmp_path / "folds.txt")}
  rows = ssljax.evaluate(protocol("linear_folds", run, linear=linear), tmp_path)
  assert 0 < rows["trained encoder"]["linear_std"] < 10
  assert " ± " in figures.table(rows)
  result = json.loads((tmp_path / "linear_folds.json").read_text())
  assert result["numbers"] == linear
  with pytest.raises(ssljax.ConfigError, match=r"linear\.folds='fold_indices.txt' can"):
    ssljax.evaluate(protocol("linear_folds", run), tmp_path)


def test_a_folder_of_other_features_is_not_mixed_with_these(run, tmp_path):
  config = protocol("embed", run)
  config.embed.format = "csv"
  with pytest.raises(
    ssljax.ConfigError, match=r"embed\.format='csv' must be one of npz"
  ):
    ssljax.evaluate(config, tmp_path)


def test_pictures_show_what_a_transformer_sees(run):
  kept = {path: path.read_bytes() for path in (run / "figures").glob("*.png")}
  ssljax.evaluate(protocol("pictures", run))
  drawn = {path.stem for path in (run / "evals" / "pictures").glob("*.png")}
  assert drawn == {
    *("neighbours", "confusion", "similarities", "spectra", "embedding", "method"),
    *("attention", "patch_colours", "filters"),
  }
  names = drawn | {path.stem for path in kept}
  assert {"curves", "views"} < names
  assert (run / "report.html").read_text().count("data:image/png;base64,") == len(names)
  # Those of an earlier checkpoint stand beside the others, and say what they are.
  ssljax.evaluate(protocol("pictures", run, step=3))
  page = (run / "report.html").read_text()
  assert "What it sees at step 3" in page
  assert page.count("data:image/png;base64,") == len(names) + len(drawn)
  for path, before in kept.items():
    assert path.stem == "curves" or path.read_bytes() == before


def test_unlabelled_pictures_can_be_looked_at_and_measured(run, tmp_path):
  rng = np.random.default_rng(0)
  for split, count in (("train", 12), ("val", 9)):
    (tmp_path / "pile" / split).mkdir(parents=True)
    for i in range(count):
      picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
      picture.save(tmp_path / "pile" / split / f"{i}.png")
  data = {"name": "folder", "dir": str(tmp_path / "pile")}
  out = tmp_path / "out"
  ssljax.evaluate(protocol("pictures", run, data=data), out)
  drawn = {path.stem for path in out.glob("pictures-folder-pile/*.png")}
  assert {"neighbours", "attention", "embedding", "spectra"} < drawn
  assert "confusion" not in drawn
  rows = ssljax.evaluate(protocol("geometry", run, data=data), out)
  assert 1 <= rows["trained encoder"]["rankme"] <= 9
  with pytest.raises(ssljax.ConfigError, match=r"data\.name=folder: .* has no labels"):
    ssljax.evaluate(protocol("knn", run, data=data), out)


def test_the_confusion_is_of_the_run_s_own_vote(run, monkeypatch):
  told = []
  monkeypatch.setattr(figures, "confusion", lambda *given: told.append(given))
  ssljax.evaluate(protocol("pictures", run))
  ((counts, _, who, _),) = told
  k = json.loads((run / "config.json").read_text())["evals"]["knn"]["k"]
  config = protocol("knn", run, protocol="as_the_run")
  with config.ignore_type():
    config.knn.k = k
  rows = ssljax.evaluate(config)
  right = 100 * np.trace(counts) / counts.sum()
  assert right == pytest.approx(rows["trained encoder"]["knn"])
  assert who.startswith("the kNN vote (k = ")


def test_checkpoints_are_compared_with_the_ones_before(run):
  rows = ssljax.evaluate(protocol("progress", run))
  assert list(rows) == ["step 3", "step 6"]
  assert "agreement" not in rows["step 3"]
  first, second = (features(run, step) for step in (3, 6))
  expected = geometry.agreement(first, second, 10)
  assert rows["step 6"]["agreement"] == pytest.approx(expected, abs=0.2)
  assert rows["step 6"]["rankme"] == pytest.approx(geometry.rankme(second), rel=1e-3)
  result = json.loads((run / "evals" / "progress.json").read_text())
  assert result["results"] == rows


def features(run, step):
  from ssljax import recipe
  from ssljax.judge import Judge

  mesh = sharding.make_mesh()
  trained = encoder.restore(run, mesh, step)
  splits = recipe.open_data(trained.config)
  return (
    Judge(trained.config, trained.parts, splits, mesh).features(trained.state).test_x
  )


def test_features_are_extracted_once_for_several_protocols(run, monkeypatch):
  ssljax.evaluate(protocol("knn", run, protocol="first"))
  before = {p: p.stat().st_mtime_ns for p in (run / "evals" / "features").iterdir()}

  def extract(*args, **kwargs):
    raise AssertionError("features were extracted again")

  monkeypatch.setattr("ssljax.evals.features.extract", extract)
  ssljax.evaluate(protocol("retrieval", run))
  ssljax.evaluate(protocol("knn", run, protocol="second"))
  after = {p: p.stat().st_mtime_ns for p in (run / "evals" / "features").iterdir()}
  assert after == before
  first, second = (run / "evals" / f"{name}.json" for name in ("first", "second"))
  results = [json.loads(path.read_text())["results"] for path in (first, second)]
  assert results[0] == results[1]


def test_an_earlier_checkpoint_can_be_judged(run):
  rows = ssljax.evaluate(protocol("geometry", run, step=3))
  result = json.loads((run / "evals" / "geometry-step3.json").read_text())
  assert result["step"] == 3
  expected = geometry.rankme(features(run, 3))
  assert rows["trained encoder"]["rankme"] == pytest.approx(expected, rel=1e-3)
  with pytest.raises(ssljax.ConfigError, match=r"step=4 is no checkpoint of .* 3, 6"):
    ssljax.evaluate(protocol("geometry", run, step=4))


def test_what_is_no_checkpoint_of_ours_is_named(run, tmp_path):
  with Checkpoints(tmp_path / "foreign") as checkpoints:
    checkpoints.save(1, {"weights": np.ones(3)}, {"written_by": "somebody else"})
  with pytest.raises(ssljax.ConfigError, match="is no checkpoint that ssljax wrote"):
    ssljax.load_encoder(tmp_path / "foreign")


def test_a_damaged_checkpoint_is_named_and_protocols_do_without(run, tmp_path, caplog):
  broken = tmp_path / "run"
  shutil.copytree(run, broken)
  shutil.rmtree(broken / "checkpoints" / "6" / "state" / "d")
  rows = ssljax.evaluate(protocol("progress", broken), tmp_path / "out")
  assert list(rows) == ["step 3"]
  assert "checkpoints/6 is damaged (state/d/" in caplog.text
  with pytest.raises(ssljax.ConfigError, match=r"step=6: .* is damaged \(state/d/"):
    ssljax.evaluate(protocol("progress", broken, step=6), tmp_path / "out")
  shutil.rmtree(broken / "checkpoints" / "3" / "meta")
  with pytest.raises(ssljax.ConfigError, match="no checkpoint before it is whole; put"):
    ssljax.load_encoder(broken)


def test_a_checkpoint_made_on_eight_devices_is_the_same_on_one(run):
  assert jax.device_count() == 8  # on which the run was made
  one = sharding.make_mesh(jax.devices()[:1])
  eight = sharding.make_mesh()
  for x, y in zip(
    *(jax.tree.leaves(encoder.restore(run, mesh).state) for mesh in (one, eight)),
    strict=True,
  ):
    np.testing.assert_array_equal(x, y)


def test_parquet_holds_paths_that_are_no_utf_8(tmp_path):
  paths = np.array([os.fsdecode(b"caf\xe9.png"), "tea.png"])
  arrays = {"feature": np.ones((2, 3), np.float32), "label": np.int32([0, 1])}
  np.savez(tmp_path / "0.npz", path=paths, split=np.array(["train"] * 2), **arrays)
  embed._join([tmp_path / "0.npz"], tmp_path / "features.parquet")
  table = parquet.read_table(tmp_path / "features.parquet")
  assert table["path"].to_pylist() == ["caf\\xe9.png", "tea.png"]
