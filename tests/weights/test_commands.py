"""From a file to a run's folder, on to protocols, and out again."""

import json
import re

import numpy as np
import pytest
import releases
import tiny
from ml_collections import ConfigDict
from weight_runs import command, loaded

import ssljax
from configs.eval import embed, knn
from configs.weights import load, save
from ssljax.fields import ConfigError
from ssljax.weights import files


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
  """Two of its eight blocks, which compile in a quarter of the time."""
  arrays = releases.arrays("torchvision_resnet18")
  kept = {k: x for k, x in arrays.items() if re.match(r"conv|bn|fc|layer[12]\.0", k)}
  folder = tmp_path_factory.mktemp("weights")
  told = {"encoder__stage_sizes": (1, 1)}
  return loaded(folder, "torchvision_resnet18", kept, **told)


def test_a_file_becomes_a_run_s_folder(resnet):
  file, run = resnet
  config = json.loads((run / "config.json").read_text())
  assert config["encoder"]["name"] == "resnet18"
  assert config["augment"]["mean"] == [0.485, 0.456, 0.406]
  assert config["evals"]["crop"] == 0.875
  origin = json.loads((run / "origin.json").read_text())
  assert origin["sha256"] == files.digest(file)
  assert origin["format"] == "torchvision"


def test_protocols_and_load_encoder_take_it_as_any_run(resnet, tmp_path):
  _, run = resnet
  config = command(knn, checkpoint=str(run), knn__k=(5,))
  rows = ssljax.evaluate(config)
  assert set(rows) == {"raw pixels, centred", "random encoder", "trained encoder"}
  encode = ssljax.load_encoder(run, batch_size=4)
  images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
  assert encode(images).shape == (3, 16)
  ssljax.evaluate(command(embed, checkpoint=str(run)), tmp_path)
  assert np.load(tmp_path / "features.npz")["feature"].shape[1] == 16


def test_it_goes_back_out_as_it_came_in(resnet, tmp_path):
  file, run = resnet
  out = tmp_path / "out.safetensors"
  ssljax.evaluate(
    command(save, checkpoint=str(run), format="torchvision", file=str(out))
  )
  (read, _), (first, _) = files.read(out), files.read(file)
  assert read.keys() == first.keys()
  for name, x in first.items():
    np.testing.assert_array_equal(read[name], x, err_msg=name)


def test_a_second_load_does_not_overwrite_a_run(resnet):
  file, run = resnet
  with pytest.raises(ConfigError, match="holds a run; name another --workdir"):
    ssljax.evaluate(command(load, file=str(file)), run)


def test_a_vision_transformer_goes_out_to_hugging_face_and_back(tmp_path):
  _, run = loaded(tmp_path, "timm_vit_small_patch16_224", encoder__heads=3)
  out = tmp_path / "hf"
  ssljax.evaluate(command(save, checkpoint=str(run), format="hf", file=str(out)))
  config = json.loads((out / "config.json").read_text())
  assert config["model_type"] == "vit"
  assert (config["num_attention_heads"], config["layer_norm_eps"]) == (3, 1e-6)
  pictures = json.loads((out / "preprocessor_config.json").read_text())
  assert (pictures["crop_size"]["height"], pictures["image_mean"]) == (32, [0.5] * 3)
  assert (
    "timm_vit_small_patch16_224.safetensors, sha256" in (out / "README.md").read_text()
  )
  again = tmp_path / "again"
  ssljax.evaluate(command(load, file=str(out), run__batch_size=16), again)
  fields = json.loads((again / "config.json").read_text())["encoder"]
  assert (fields["heads"], fields["epsilon"]) == (3, 1e-6)
  images = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), np.uint8)
  first, second = (ssljax.load_encoder(r, 2)(images) for r in (run, again))
  np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


def test_a_recipe_starts_from_it(resnet, tmp_path):
  """Whatever of the encoder the recipe has is the file's."""
  _, run = resnet
  config = tiny.configs()["supervised_cifar10"].copy_and_resolve_references()
  config.encoder = {"name": "resnet18", "width": 8, "stage_sizes": (1, 1)}
  config.pretrained.checkpoint = str(run)
  config.update(steps=1, batch_size=16)
  config.optimizer = ConfigDict({"name": "sgd", "learning_rate": 0.0})
  config.evals.at_end = ("knn",)
  rows = ssljax.train_and_evaluate(config, tmp_path / "on")
  assert [*rows][1:] == ["random encoder", "where it started", "trained encoder"]
  assert "(where it started)" in (tmp_path / "on" / "report.html").read_text()
  out = tmp_path / "out.safetensors"
  ssljax.evaluate(command(save, checkpoint=str(tmp_path / "on"), file=str(out)))
  (read, texts), (first, _) = files.read(out), files.read(resnet[0])
  np.testing.assert_array_equal(read["conv1.weight"], first["conv1.weight"])
  assert "fc.weight" not in read
  assert json.loads(texts["ssljax"])["encoder"]["width"] == 8


@pytest.mark.parametrize(
  ("values", "sentence"),
  [
    ({}, "config.checkpoint is empty"),
    ({"checkpoint": "RUN"}, "config.file is empty"),
    ({"checkpoint": "RUN", "file": "x.onnx"}, r"x\.onnx' must end in one of"),
    ({"checkpoint": "RUN", "file": "folder"}, r"one of \.safetensors.* writes a file"),
    ({"checkpoint": "RUN", "file": "x.pkl"}, r"\.pth, \.pt, \.bin, as format='safete"),
    (
      {"checkpoint": "RUN", "file": "x.safetensors", "format": "hf"},
      r"format='hf' writes a folder: try --config\.file=/.*/x$",
    ),
    (
      {"checkpoint": "RUN", "file": "x.onnx", "format": "hf_resnet"},
      "is a file's name, and format='hf_resnet' writes a folder",
    ),
    ({"checkpoint": "RUN", "file": "x.npz", "format": "clip"}, "has no names for"),
    ({"checkpoint": "RUN", "file": "x.npz", "format": "keras"}, "format='keras' must"),
  ],
)
def test_what_cannot_be_written_is_said(resnet, tmp_path, values, sentence):
  values = {k: v.replace("RUN", str(resnet[1])) for k, v in values.items()}
  if "file" in values:
    values["file"] = str(tmp_path / values["file"])
  with pytest.raises(ConfigError, match=sentence):
    ssljax.evaluate(command(save, **values))
  assert not any(tmp_path.iterdir())


def test_a_folder_may_have_a_version_in_its_name(resnet, tmp_path):
  out = tmp_path / "resnet.v1.5"
  ssljax.evaluate(command(save, checkpoint=str(resnet[1]), format="hf", file=str(out)))
  assert {"config.json", "model.safetensors"} <= {x.name for x in out.iterdir()}
