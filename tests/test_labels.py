"""Labels that are few, or lost on the way: said before anything compiles."""

import importlib

import numpy as np
import pytest
from PIL import Image

import ssljax


def pile(root, folders=("",)):
  rng = np.random.default_rng(0)
  for folder in folders:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(20):
      picture = rng.integers(0, 256, (16, 16, 3), np.uint8)
      Image.fromarray(picture).save(root / folder / f"{i}.png")


def smoke(name, root, **fields):
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  data = {"name": "folder", "dir": str(root), "size": 32, "workers": 1}
  with config.unlocked():
    config.data = {"in_memory": False, **data, **fields}
  config.batch_size = 8
  return config


@pytest.mark.parametrize(
  ("name", "sentence"),
  [
    ("supcon_cifar10", "supcon' learns from labels.*or set method.labels=False"),
    ("metric_learning_cifar10", "metric_learning' learns from labels.*labels=False"),
    ("supervised_cifar10", "method.classifier needs labels"),
  ],
)
def test_a_method_that_learns_from_labels_is_refused_where_there_are_none(
  tmp_path, name, sentence
):
  pile(tmp_path / "data")
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.train_and_evaluate(smoke(name, tmp_path / "data"), tmp_path / "run")
  assert not (tmp_path / "run").exists()
