"""Protocols that train on a run's encoder, from the command's config to the JSON."""

import importlib
import json
import pathlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny
from flax import traverse_util

import ssljax
from ssljax import augment, data, encoder, recipe, sharding
from ssljax.protocols import transfer


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


def test_maes_fine_tuning_reads_patches_and_spares_token_and_positions_the_decay():
  """As models_vit.py and lr_decay.py of its code: no final norm, a fresh one behind."""
  old = importlib.import_module("configs.mae_cifar10").get_config("smoke")
  training = importlib.import_module("configs.eval.finetune").get_config("mae").training
  trained = SimpleNamespace(config=old, state=SimpleNamespace(step=6))
  config = transfer.compose(training, pathlib.Path("runs/mae"), trained, {})
  config.update(batch_size=4, pretrained={"checkpoint": ""})
  config.encoder.position = "learned"
  recipe.check(config)
  parts = recipe.build(config, tiny.PLAN)
  batch = {k: v[:4] for k, v in tiny.batch().items() if k != "text"}
  size = config.augment.size
  batch["image"] = np.zeros((4, size, size, 3), np.uint8)
  state = parts.init(batch)
  encoder, head = state.params["encoder"], state.params["classifier"]
  assert "norm" not in encoder
  assert head["norm"]["scale"].shape == encoder["cls"].shape[-1:]
  assert head["Dense_0"]["kernel"].std() == pytest.approx(2e-5, rel=0.2)
  assert config.encoder.drop_path == 0.1
  view = augment.configure(config.augment).views[0]
  assert (view.erase_p, view.interpolation) == (0.25, "bicubic")

  ones = jax.tree.map(jax.numpy.ones_like, state.params)  # without gradients: decay
  zeros = jax.tree.map(jax.numpy.zeros_like, ones)
  updates, _ = parts.tx.update(zeros, parts.tx.init(ones), ones, step=np.int32(30))
  moved = traverse_util.flatten_dict(jax.tree.map(lambda x: bool(x.any()), updates))
  still = {"/".join(k) for k, v in moved.items() if not v}
  assert {"encoder/cls", "encoder/position", "encoder/patch/bias"} <= still
  assert {k[-1] for k, v in moved.items() if v} == {"kernel"}


@pytest.mark.parametrize(("asked", "expected"), [({}, 0.0), ({"token_drop": 0.2}, 0.2)])
def test_fine_tuning_sees_all_of_a_picture_whatever_the_run_dropped(asked, expected):
  old = importlib.import_module("configs.moco_v3_folder").get_config("cheap")
  training = importlib.import_module("configs.eval.finetune").get_config().training
  training.encoder.update(asked)
  trained = SimpleNamespace(config=old, state=SimpleNamespace(step=6))
  config = transfer.compose(training, pathlib.Path("runs/moco"), trained, {})
  assert old.encoder.token_drop == 0.5
  assert config.encoder.token_drop == expected
  assert not config.encoder.get("stop_grad_patch", False)


def test_several_heads_without_pictures_to_choose_on_are_refused(run):
  config = protocol("linear_grid", run)
  config.data.held_out = 0.0
  with pytest.raises(ssljax.ConfigError, match=r"set --config\.data\.held_out=0\.1"):
    ssljax.evaluate(config)
