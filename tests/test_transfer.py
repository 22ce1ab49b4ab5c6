"""Protocols that train on a run's encoder, from the command's config to the JSON."""

import importlib
import json

import jax
import numpy as np
import pytest

import ssljax
from ssljax import data, encoder, recipe, sharding


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  config = importlib.import_module("configs.simclr_digits").get_config("smoke")
  config.evals.at_end = ()
  ssljax.train_and_evaluate(config, folder)
  return folder


def protocol(name, run, **training):
  config = importlib.import_module(f"configs.eval.{name}").get_config()
  config.checkpoint = str(run)
  config.training.update(batch_size=64, steps=12, **training)
  return config


def test_of_a_grid_the_head_that_was_best_on_held_out_pictures_meets_the_test(run):
  config = protocol("linear_grid", run)
  config.training.method.rates = (1e-4, 0.5)
  rows = ssljax.evaluate(config)
  result = json.loads((run / "evals" / "linear_grid.json").read_text())
  assert result["results"] == rows
  assert result["protocol"] == "linear_grid"
  assert result["step"] == 6
  assert result["grid"].keys() == {"pooled, rate 0.0001", "pooled, rate 0.5"}
  assert result["head"] == max(result["grid"], key=result["grid"].get)
  assert 0 <= rows["trained encoder"]["linear"] <= 100
  # The same once more, by other means: the best head on every test picture.
  workdir = run / "evals" / "linear_grid"
  trained, _, state, *_ = encoder.restore(workdir, sharding.make_mesh())
  assert trained.data.held_out == 0.1
  with trained.unlocked():
    trained.data.held_out = 0.0
  test = recipe.open_data(trained).eval
  (batch,) = data.eval_batches(test, 360, size=16, in_memory=False, workers=1)
  x = ssljax.load_encoder(run)(batch["image"])
  head = jax.device_get(state.params["pooled"])
  best = list(result["grid"]).index(result["head"])
  predicted = np.argmax(x @ head["kernel"][best] + head["bias"][best], 1)
  right = 100 * np.mean(predicted == batch["label"])
  assert rows["trained encoder"]["linear"] == pytest.approx(right, abs=0.3)


def test_the_probed_encoder_is_the_run_s(run):
  config = protocol("linear_moco", run)
  ssljax.evaluate(config)
  mesh = sharding.make_mesh()
  before = encoder.restore(run, mesh).state
  after = encoder.restore(run / "evals" / "linear_moco", mesh).state
  kept = after.target["base"]["params"]
  jax.tree.map(np.testing.assert_array_equal, kept["encoder"], before.params["encoder"])


def test_fine_tuning_moves_the_encoder_from_where_the_run_left_it(run):
  config = protocol("finetune", run)
  rows = ssljax.evaluate(config)
  assert rows["trained encoder"].keys() == {"accuracy", "accuracy_top5"}
  mesh = sharding.make_mesh()
  before = encoder.restore(run, mesh).state.params["encoder"]
  after = encoder.restore(run / "evals" / "finetune", mesh).state.params["encoder"]
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).mean()), before, after)
  assert 0 < moved["layer1_0"]["conv1"]["kernel"] < 0.01


def test_several_heads_without_pictures_to_choose_on_are_refused(run):
  config = protocol("linear_grid", run)
  config.data.held_out = 0.0
  with pytest.raises(ssljax.ConfigError, match=r"set --config\.data\.held_out=0\.1"):
    ssljax.evaluate(config)
