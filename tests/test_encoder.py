"""From a run's folder to features, and to the evaluations that read one."""

import importlib
import json

import numpy as np
import pytest

import ssljax
from ssljax import data, encoder, recipe, sharding
from ssljax.judge import Judge


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, quick_compilation):
  folder = tmp_path_factory.mktemp("run")
  config = importlib.import_module("configs.dino_cifar10").get_config("smoke")
  config.evals.at_end = ()
  ssljax.train_and_evaluate(config, folder)
  return folder


def pictures(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(5, 16, 16, 3), (3, 40, 24, 3)])
def test_three_lines_give_features_of_pictures_of_any_size(workdir, shape):
  encode = ssljax.load_encoder(workdir)
  features = encode(pictures(*shape))
  assert features.shape == (shape[0], 16)
  assert features.dtype == np.float32
  np.testing.assert_allclose(features[1:2], encode(pictures(*shape)[1:2]), rtol=1e-4)


def test_features_are_the_ones_that_were_judged_in_whatever_batches(workdir):
  mesh = sharding.make_mesh()
  config, parts, state, *_ = encoder.restore(workdir, mesh)
  splits = recipe.open_data(config)
  judged = Judge(config, parts, splits, mesh).features(state).test_x
  (batch,) = data.eval_batches(
    splits.eval, len(splits.eval), size=config.data.size, in_memory=False, workers=1
  )
  for batch_size in (360, 100):
    features = ssljax.load_encoder(workdir, batch_size)(batch["image"])
    np.testing.assert_allclose(features, judged, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
  "shape_and_dtype",
  [((2, 8, 8, 3), np.float32), ((8, 8, 3), np.uint8), ((0, 8, 8, 3), np.uint8)],
)
def test_what_is_no_batch_of_pictures_is_named(workdir, shape_and_dtype):
  images = np.zeros(*shape_and_dtype)
  with pytest.raises(ValueError, match=r"they must be uint8 \[N,H,W,3\]"):
    ssljax.load_encoder(workdir)(images)


@pytest.mark.parametrize(
  ("name", "fewer", "keys"),
  [
    ("knn", {}, ["knn_10", "knn_20", "knn_100", "knn_200"]),
    ("linear", {}, ["linear", "linear_top5"]),
    ("transfer", {"data.name": "digits"}, ["linear", "linear_top5"]),
    (
      "few_label",
      {"few_label.labels_per_class": (1,), "few_label.draws": 2},
      ["few_label_1", "few_label_1_std"],
    ),
    ("retrieval", {}, ["map", "recall_1", "recall_5", "recall_10", "recall_100"]),
    (
      "geometry",
      {"geometry.draws": 2},
      ["rankme", "uniformity", "alignment", "lidar", "prototypes_used"],
    ),
    (
      "robustness",
      {"robustness.corruptions": ("contrast",), "robustness.severities": (1, 5)},
      ["clean", "corrupted", "contrast", "kept"],
    ),
    ("copies", {"copies.edits": ("turned",)}, ["copy_map", "copy_recall_1"]),
  ],
)
def test_a_protocol_reads_a_run_and_writes_its_rows(
  workdir, name, fewer, keys, tmp_path
):
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  config.update_from_flattened_dict({"checkpoint": str(workdir), **fewer})
  rows = ssljax.evaluate(config, tmp_path)
  assert list(rows) == ["raw pixels, centred", "random encoder", "trained encoder"]
  report = json.loads((tmp_path / f"{name}.json").read_text())
  assert report["results"] == rows
  assert report["step"] == 6
  for row in rows.values():
    assert np.isfinite(list(row.values())).all()
  assert rows["trained encoder"].keys() >= set(keys)


def test_a_folder_without_a_finished_checkpoint_is_named(tmp_path):
  with pytest.raises(ssljax.ConfigError, match="holds no run: there is no folder"):
    ssljax.load_encoder(tmp_path)
  (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp").mkdir(parents=True)
  with pytest.raises(ssljax.ConfigError, match="holds no finished checkpoint yet"):
    ssljax.load_encoder(tmp_path)
