"""Every protocol, as docs/evaluation.md gives it, on ten pictures."""

import importlib
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import ssljax
from ssljax import sharding

pytestmark = pytest.mark.slow  # every protocol, several times

PROTOCOLS = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parent.parent / "configs/eval").glob("*.py")
  if path.stem not in ("common", "prepare")  # which looks at no run
)
SAID = {  # what is lowered for eight pictures to train on and two to evaluate on
  "copies": ["copies.queries=500"],
  "few_label": ["few_label.labels_per_class=(1, 2, 5, 10, 20)", "it is (1, 2) now"],
  "finetune": ["training.batch_size=1024", "it is 8 now"],
  "knn": ["knn.k=(10, 20, 100, 200): there are 8 training", "it is (8,) now"],
  "linear_grid": ["training.batch_size=1024", "it is 7 now"],
  "linear_moco": ["training.batch_size=256"],
  "linear_simclr": ["training.batch_size=4096"],
  "progress": ["progress.k=10: each has 1"],
  "retrieval": ["retrieval.gallery='test'", "retrieval.ks=(1, 5, 10, 100)"],
  "robustness": ["robustness.k=20"],
}
REFUSED = {
  "depth": r"has no folder images; it needs images/ and depth/",
  "segment": r"has no folder images; it needs images/ and masks/",
  "clip_imagenet_prompts": "names of classes mean nothing",
  "linear_folds": r"linear\.folds='fold_indices\.txt' cannot be read",
}
NO_LABELS = ("copies", "embed", "geometry", "pictures", "progress")


def draw(root, names):
  rng = np.random.default_rng(0)
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    picture = rng.integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(picture).save(root / f"{name}.png")
  return root


def train(root, run):
  config = importlib.import_module("configs.simclr_digits").get_config("smoke")
  config.data.update(name="folder", dir=str(root))
  config.batch_size = 8
  ssljax.train_and_evaluate(config, run)
  return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """Two classes of five, an unlabelled pile of ten, and a run on each."""
  home = tmp_path_factory.mktemp("home")
  draw(home / "two", [f"{name}/{i}" for name in ("cat", "dog") for i in range(5)])
  draw(home / "pile", map(str, range(10)))
  for name in ("two", "pile"):
    train(home / name, home / f"{name}_run")
  return home


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
  """Eight of them want eight examples a batch, and seven are left to choose heads."""
  one = sharding.make_mesh(jax.devices()[:1])
  monkeypatch.setattr(sharding, "make_mesh", lambda devices=None: one)


def ask(name, run, home):
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  if name == "compare":
    config.runs = f"{home / 'two_run'},{home / 'pile_run'}"
    return ssljax.evaluate(config, home / "compared")
  config.checkpoint = str(run)
  config.data.name = ""  # `transfer` and prompts have one
  if name == "robustness":
    config.robustness.severities = (3,)  # fifty-six programs less to compile
  if config.evaluator == "training":
    config.training.epochs = 10
  return ssljax.evaluate(config, home / name / run.name if name == "embed" else None)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_on_two_classes_of_five(name, home, capsys):
  run = home / "two_run"
  if name in REFUSED:
    with pytest.raises(ssljax.ConfigError, match=REFUSED[name]):
      ask(name, run, home)
    return
  rows = ask(name, run, home)
  said = capsys.readouterr().out
  for words in SAID.get(name, ()):
    assert words in said
  if name not in SAID:
    assert " now." not in said
  if name == "embed":
    assert len(np.load(home / name / run.name / "features.npz")["label"]) == 10
  elif name == "pictures":
    assert (run / "evals" / "pictures" / "neighbours.png").exists()
  elif name != "compare":
    assert all(np.isfinite(v) for row in rows.values() for v in row.values())
    assert rows
  if name in ("knn", "retrieval"):
    numbers = json.loads((run / "evals" / f"{name}.json").read_text())["numbers"]
    assert 8 in (numbers.get("k") or [8])
    assert numbers.get("gallery", "train") == "train"


@pytest.mark.parametrize("name", NO_LABELS)
def test_on_an_unlabelled_pile(name, home, capsys):
  run = home / "pile_run"
  rows = ask(name, run, home)
  said = capsys.readouterr().out
  if name == "embed":
    paths = np.load(home / name / run.name / "features.npz")["path"]
    assert sorted(paths) == [f"{i}.png" for i in range(10)]
  else:
    assert "has nothing to evaluate on: all of it is looked at" in said
  if name == "geometry":
    assert 1 <= rows["trained encoder"]["rankme"] <= 10
  if name == "progress":
    assert "agreement" in rows["step 6"]
    assert "knn" not in rows["step 6"]


def test_what_asks_for_labels_refuses_the_pile_in_a_sentence(home):
  match = "has nothing to evaluate on; name a labelled data set"
  with pytest.raises(ssljax.ConfigError, match=match):
    ask("knn", home / "pile_run", home)
