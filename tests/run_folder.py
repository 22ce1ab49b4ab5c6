"""A run's folder as training and its protocols leave one, without training."""

import json

import numpy as np
from PIL import Image

RAW, RANDOM, TRAINED = "raw pixels, centred", "random encoder", "trained encoder"


def make(folder, knn=50.32, **config):
  """-> `folder`, which has results, one protocol and two figures."""
  (folder / "figures").mkdir(parents=True)
  (folder / "evals").mkdir()
  groups = {
    "seed": 3,
    "batch_size": 128,
    "data": {"name": "cifar10", "dir": "", "workers": 0},
    "encoder": {"name": "resnet18", "width": 16},
    "method": {"name": "simclr", "temperature": 0.2},
    "optimizer": {"name": "adamw", "learning_rate": {"kind": "cosine", "base": 0.002}},
    "evals": {"at_end": ["knn"], "knn": {"k": 200, "temperature": 0.1}},
  }
  write(folder / "config.json", groups | config)
  few = {"few_label_1": 20.04, "few_label_1_std": 2.26}
  write(
    folder / "results.json",
    {RAW: {"knn": 41.25}, RANDOM: {"knn": 30.62}, TRAINED: {"knn": knn, **few}},
  )
  write(folder / "evals" / "retrieval.json", retrieval(knn / 2))
  rows = [{"step": s, "loss": 9 - s / 10, "effective_rank": s} for s in (10, 20)]
  lines = [json.dumps(row) + "\n" for row in (*rows, {"step": 20, "knn": knn})]
  (folder / "metrics.jsonl").write_text("".join(lines))
  for name in ("views", "an_own_one"):
    picture = Image.fromarray(np.full((32, 48, 3), 99, np.uint8))
    picture.save(folder / "figures" / f"{name}.png")
  return folder


def retrieval(score, ks=(1, 5)):
  return {
    "protocol": "retrieval",
    "evaluator": "retrieval",
    "checkpoint": "runs/it",
    "step": 20,
    "seed": 3,
    "numbers": {"ks": list(ks), "gallery": "test"},
    "data": {"name": "cifar10", "dir": "", "workers": 0},
    "results": {
      RAW: {"map": 12.3, "recall_1": 33.3},
      TRAINED: {"map": score, "recall_1": 33.3},
    },
  }


def write(path, content):
  path.write_text(json.dumps(content))
