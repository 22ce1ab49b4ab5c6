"""A run that learned from captions, from its folder to what names mean to it."""

import importlib
import json
import shutil

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import ssljax
from ssljax import data, encoder, recipe, sharding


def smoke():
  """CLIP on digits that say their names, 120 steps."""
  config = importlib.import_module("configs.clip_folder").get_config("smoke")
  config.update(batch_size=64, steps=120, log_every=60)
  config.checkpoint.every_steps = 60
  config.data.size = config.augment.size = 8
  config.encoder.width, config.method.text.width = 16, 32
  config.evals.probe.learning_rate = 1e-3
  config.evals.at_end = ()
  config.optimizer = {"name": "adamw", "learning_rate": 3e-3}
  return config


def question(workdir, **fields):
  name = "configs.eval.clip_imagenet_prompts"
  config = importlib.import_module(name).get_config()
  config.checkpoint = str(workdir)
  config.data.name = "digits"
  config.zero_shot.templates = ("the digit {}", "a handwritten {}.")
  for path, value in fields.items():
    group, _, field = path.rpartition("__")
    (config[group] if group else config)[field] = value
  return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  ssljax.train_and_evaluate(smoke(), folder)
  return folder


def test_names_find_digits_that_were_never_seen_and_chance_does_not(workdir):
  rows = ssljax.evaluate(question(workdir))
  assert list(rows) == ["random encoder", "trained encoder"]
  assert rows["random encoder"]["accuracy"] < 30
  assert rows["trained encoder"]["accuracy"] > 50
  assert rows["trained encoder"]["accuracy_top5"] > 85
  report = json.loads((workdir / "evals" / "zero_shot-digits.json").read_text())
  assert report["results"] == rows
  assert report["numbers"]["templates"] == ["the digit {}", "a handwritten {}."]


def test_other_names_in_a_file_turn_the_classes_round(workdir, tmp_path):
  """Digit d is now called 9 - d: a picture that is known is known wrongly."""
  names = tmp_path / "names.txt"
  names.write_text("\n".join("9876543210"))
  rows = ssljax.evaluate(question(workdir, zero_shot__names=str(names)), tmp_path)
  assert rows["trained encoder"]["accuracy"] < 15


def test_predictions_are_the_nearest_of_the_mean_prompts(workdir):
  """From the network's own outputs, in NumPy."""
  mesh = sharding.make_mesh()
  config, parts, state, *_ = encoder.restore(workdir, mesh)
  splits = recipe.open_data(config, workdir)
  templates = ("{}", "the digit {}")
  prompts = data.prompts(data.Tokenizer.load(workdir), "0123456789", templates)
  named = jax.jit(parts.method.name_classes)(state, prompts)
  weights, net = parts.method.weights(state), parts.method.net
  apply = jax.jit(lambda x: net.apply(weights, x, train=False))
  (batch,) = data.eval_batches(splits.eval, 360, size=8, in_memory=True, workers=1)
  batch.pop("mask")
  scores = np.asarray(jax.jit(parts.classify)(named, batch))
  views = jax.jit(parts.eval_views)(jax.random.key(0), batch)
  image = np.asarray(apply({"image": views["image"][:, 0]})["projection"])
  text = [apply({"text": ways})["text"] for ways in prompts]
  for row, picture in zip(scores, image, strict=True):
    closest = []
    for ways in text:
      mean = sum(np.asarray(way) / np.linalg.norm(way) for way in ways)
      closest.append(mean @ picture / np.linalg.norm(mean) / np.linalg.norm(picture))
    scale = np.exp(state.params["logit_scale"])
    np.testing.assert_allclose(row, scale * np.array(closest), rtol=1e-3, atol=1e-3)


def test_a_run_keeps_its_tokenizer_and_goes_on_with_it(workdir, tmp_path):
  """The tokenizer in the folder counts, not what would be trained now."""
  half = tmp_path / "half"
  shutil.copytree(workdir, half)
  shutil.rmtree(half / "checkpoints" / "120")
  kept = data.Tokenizer.load(half)
  other = data.Tokenizer.train(["zzz"], 300, kept.context)
  other.save(half)
  config = smoke()
  assert_array_equal(
    recipe.open_data(config, half).train.tokenizer.encode(["the digit 3"]),
    other.encode(["the digit 3"]),
  )
  kept.save(half)
  ssljax.train_and_evaluate(config, half)
  for name in ("metrics.jsonl", "tokenizer.json"):
    lines = [(folder / name).read_text() for folder in (half, workdir)]
    if name == "metrics.jsonl":  # speed alone may differ
      lines = [[_timeless(line) for line in text.splitlines()] for text in lines]
    assert lines[0] == lines[1]


def _timeless(line):
  return {k: v for k, v in json.loads(line).items() if k != "images_per_second"}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(zero_shot__names="/none"), r"must be a file of 10 lines.* and has 0"),
    (dict(zero_shot__way="x"), r"zero_shot has no field way='x'"),
    (dict(data__name="folder"), r"data\.dir='' is no folder|data\.dir is empty"),
  ],
)
def test_a_question_that_cannot_be_answered_says_why(workdir, fields, message):
  with pytest.raises(ssljax.ConfigError, match=message):
    ssljax.evaluate(question(workdir, **fields))


def test_numbers_of_wordnet_are_no_names(workdir, monkeypatch):
  classes = tuple(f"n{i:08}" for i in range(10))
  monkeypatch.setattr("ssljax.data.digits.Digits.class_names", classes)
  with pytest.raises(ssljax.ConfigError, match=r"are called n00000000 .* a file"):
    ssljax.evaluate(question(workdir))


def test_the_run_s_encoder_needs_no_text(workdir):
  features = ssljax.load_encoder(workdir)(np.zeros((2, 20, 10, 3), np.uint8))
  assert features.shape == (2, 32)


def test_data_without_captions_are_told_where_those_come_from(tmp_path):
  config = smoke()
  config.data.captions = ()
  sentence = r"learns from 'text'.* captions in data\.captions"
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.train_and_evaluate(config, tmp_path)


def test_a_run_without_a_tokenizer_is_told_so(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / "run")
  (tmp_path / "run" / "tokenizer.json").unlink()
  with pytest.raises(ssljax.ConfigError, match=r"holds no tokenizer\.json"):
    ssljax.evaluate(question(tmp_path / "run"))
