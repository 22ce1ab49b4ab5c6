"""ONNX Runtime gives what `load_encoder` gives, where the extra `onnx` is installed."""

import json
import re

import numpy as np
import pytest
import releases
from flax import linen as nn
from weight_runs import command, loaded

import ssljax
from configs import simclr_digits
from configs.weights import save
from ssljax.data import digits
from ssljax.evals import features, knn
from ssljax.fields import ConfigError
from ssljax.protocols import onnx_out
from ssljax.weights import files

onnx = pytest.importorskip("onnx", reason="needs the extra onnx: onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx: onnxruntime")
pytest.importorskip("jax2onnx", reason="needs the extra onnx: jax2onnx")


def exported(run, file, **values):
  """Writes a run's graph -> features(image) by ONNX Runtime, and what it says."""
  values = {"checkpoint": str(run), "format": "onnx", "file": str(file), **values}
  ssljax.evaluate(command(save, **values))
  session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
  says = session.get_modelmeta().custom_metadata_map
  return lambda image: session.run(["features"], {"image": image})[0], says


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
  """Two of its eight blocks, a stem that pools, statistics that are random."""
  arrays = releases.arrays("torchvision_resnet18")
  kept = {k: x for k, x in arrays.items() if re.match(r"conv|bn|fc|layer[12]\.0", k)}
  folder = tmp_path_factory.mktemp("weights")
  told = {"encoder__stage_sizes": (1, 1), "crop": 0.875}
  return loaded(folder, "torchvision_resnet18", kept, **told)[1]


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
  """LayerNorm, attention and GELU of our own, a size that is not its positions'."""
  folder = tmp_path_factory.mktemp("weights")
  told = {"encoder__heads": 3, "size": 48}
  return loaded(folder, "timm_vit_small_patch16_224", **told)[1]


@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_pictures_of_any_size_give_load_encoder_s_features(network, request, tmp_path):
  run = request.getfixturevalue(network)
  encode = ssljax.load_encoder(run)
  features, says = exported(run, tmp_path / "x.onnx")
  rng = np.random.default_rng(0)
  for shape in ((1, 65, 47, 3), (3, 32, 32, 3)):
    image = rng.integers(0, 256, shape, np.uint8)
    want = encode(image)
    assert np.abs(features(image) - want).max() < 1e-4 * np.abs(want).max()
  augment = json.loads((run / "config.json").read_text())["augment"]
  assert json.loads(says["mean"]) == augment["mean"]
  assert json.loads(says["size"]) == augment["size"]
  assert json.loads(says["crop"]) == {"resnet": 0.875, "vit": 0.9}[network]


def test_normalised_pictures_are_the_other_input(resnet, tmp_path):
  """Pictures of one colour, which no resizing changes."""
  features, says = exported(resnet, tmp_path / "x.onnx", input="float")
  mean, std, size = (json.loads(says[k]) for k in ("mean", "std", "size"))
  colours = np.random.default_rng(0).integers(0, 256, (3, 1, 1, 3), np.uint8)
  image = np.broadcast_to(colours, (3, size, size, 3))
  want = ssljax.load_encoder(resnet)(image)
  got = features((image / np.float32(255) - np.float32(mean)) / np.float32(std))
  assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("padding", ["SAME", ((1, 1), (1, 1))])
def test_a_pooling_as_it_is_converted_is_the_same(padding):
  x = np.random.default_rng(0).normal(size=(1, 6, 7, 2)).astype(np.float32)
  how = {"window_shape": (3, 3), "strides": (2, 2), "padding": padding}
  want = nn.max_pool(x, **how)
  np.testing.assert_array_equal(onnx_out._padded(nn.max_pool, x, **how), want)


def test_a_graph_that_computes_something_else_is_not_written(
  resnet, tmp_path, monkeypatch
):
  def unpadded(pool, x, window_shape, strides, padding):
    return pool(x, window_shape=window_shape, strides=strides, padding="SAME")

  monkeypatch.setattr(onnx_out, "_padded", unpadded)
  with pytest.raises(ConfigError, match="of their scale from those of load_encoder"):
    exported(resnet, tmp_path / "x.onnx")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("values", "sentence"),
  [
    ({"file": "x.safetensors"}, "must end in .onnx"),
    ({"format": "torchvision", "input": "float"}, "is of format='onnx' alone"),
    ({"input": "int8"}, "input='int8' must be one of uint8, float"),
  ],
)
def test_what_cannot_be_written_is_said(resnet, tmp_path, values, sentence):
  file = tmp_path / values.pop("file", "x.onnx")
  with pytest.raises(ConfigError, match=sentence):
    exported(resnet, file, **values)


def test_the_same_nearest_neighbours_through_torch_and_onnx(tmp_path):
  """A run of `simclr_digits`, of half its blocks, to the last picture."""
  pytest.importorskip("torchvision", reason="needs the extra interop-test: torchvision")
  config = simclr_digits.get_config()
  config.update(steps=6, batch_size=64)
  config.encoder.update(width=8, stage_sizes=(1, 1, 1, 1))
  config.checkpoint.every_steps = 6
  config.evals.update(every_epochs=0, at_end=())
  ssljax.train_and_evaluate(config, tmp_path / "run")
  found = neighbours(tmp_path / "run", tmp_path)
  for name in ("torch", "onnx"):
    assert found[name][0] < 1e-4
    np.testing.assert_array_equal(found[name][1], found["ssljax"][1])
  assert len(set(found["ssljax"][1])) > 5  # and it votes for more than one class


def neighbours(run, folder):
  """-> of each way to compute features of the digits: how far they are, kNN's votes.

  How far is a share of the largest; votes are classes [360].
  """
  import torch

  from examples.detection import model

  torch.set_num_threads(1)
  file, (from_onnx, says) = folder / "x.safetensors", exported(run, folder / "x.onnx")
  ssljax.evaluate(
    command(save, checkpoint=str(run), format="torchvision", file=str(file))
  )
  net = model.resnet(files.read(file)[0]).eval()
  mean, std = (np.float32(json.loads(says[k])) for k in ("mean", "std"))

  def from_torch(image):
    x = (image / np.float32(255) - mean) / std  # of the network's own size
    with torch.no_grad():
      return net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()

  ways = {
    "ssljax": ssljax.load_encoder(run),
    "torch": from_torch,
    "onnx": from_onnx,
  }
  train, test = digits.splits()
  found, want = {}, None
  for name, way in ways.items():
    train_x, test_x = way(train.images), way(test.images)
    want = test_x if want is None else want
    off = float(np.abs(test_x - want).max() / np.abs(want).max())
    both = features.FeatureSet(train_x, train.labels, test_x, test.labels, 10)
    votes = knn.votes(both, k=20, temperature=0.1).argmax(1)
    found[name] = off, votes
  return found
