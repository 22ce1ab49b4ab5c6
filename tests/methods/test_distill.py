"""SimCLR v2's three stages, and what passes from one to the next."""

import importlib
import json

import jax
import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose, assert_array_equal

import ssljax
from configs import common
from ssljax import core, encoder, nets, sharding
from ssljax.fields import ConfigError
from ssljax.methods.distill import Distill
from ssljax.nets.heads import Classifier


def test_the_student_comes_to_agree_with_its_teacher():
  x = np.eye(3, dtype=np.float32)
  net = nets.Network(tiny.Encoder(), classifier=Classifier(3))
  method = Distill(net, teacher=net, temperature=1.0)
  batch = {"image": x[:, None], "label": np.full(3, -1, np.int32)}
  params, stats, target = method.init(jax.random.key(0), batch)
  kernel = {"kernel": 5 * x[:, [1, 2, 0]], "bias": np.zeros(3, np.float32)}
  target["teacher"]["params"]["classifier"]["Dense_0"] = kernel
  state = core.TrainState(np.int32(0), None, stats, target, None)
  step = jax.jit(jax.value_and_grad(method.loss_fn, has_aux=True))
  for _ in range(300):
    (_, aux), grads = step(params, state, batch, jax.random.key(0))
    params = jax.tree.map(lambda p, g: p - g, params, grads)
  assert aux.metrics["agreement"] == 1
  probabilities = jax.nn.softmax(method.classify(state.replace(params=params), x))
  assert_allclose(probabilities, jax.nn.softmax(kernel["kernel"]), atol=0.02)


def smoke(name, variant="smoke", **fields):
  config = importlib.import_module(f"configs.{name}").get_config(variant)
  if variant != "smoke":
    common.smoke(config)
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
  root = tmp_path_factory.mktemp("stages")
  folders = [root / name for name in ("pretrain", "finetune", "distill")]
  first, second, _ = map(str, folders)
  configs = (
    smoke("simclr_v2_imagenet", "r50", **{"evals.at_end": ()}),
    smoke("simclr_v2_finetune", **{"pretrained.checkpoint": first}),
    smoke("simclr_v2_distill", **{"pretrained.checkpoint": second}),
  )
  for config, folder in zip(configs, folders, strict=True):
    ssljax.train_and_evaluate(config, folder)
  return folders


def restored(folder):
  return jax.device_get(encoder.restore(folder, sharding.make_mesh()).state)


def test_the_teacher_is_what_fine_tuning_left_and_does_not_move(stages):
  finetuned, distilled = restored(stages[1]), restored(stages[2])
  teacher = distilled.target["teacher"]
  jax.tree.map(assert_array_equal, teacher["params"], finetuned.params)
  jax.tree.map(assert_array_equal, teacher["batch_stats"], finetuned.batch_stats)


def test_a_classifier_s_accuracy_is_reported(stages):
  for folder in stages[1:]:
    rows = json.loads((folder / "results.json").read_text())
    assert 0 <= rows["trained encoder"]["accuracy"] <= 100
    assert "accuracy" not in rows["raw pixels, centred"]


def test_fine_tuning_starts_from_the_weights_of_the_first_stage(stages, tmp_path):
  config = smoke(
    "simclr_v2_finetune",
    **{"pretrained.checkpoint": str(stages[0]), "steps": 1, "evals.at_end": ()},
  )
  config.optimizer = {"name": "sgd", "learning_rate": 0.0}
  ssljax.train_and_evaluate(config, tmp_path)
  before, after = restored(stages[0]), restored(tmp_path)
  jax.tree.map(assert_array_equal, after.params["encoder"], before.params["encoder"])
  for part in ("fc1", "bn1"):
    jax.tree.map(
      assert_array_equal,
      after.params["projector"][part],
      before.params["projector"][part],
    )


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    ({"pretrained.checkpoint": "/none"}, "/none holds no run"),
    ({"encoder.width": 4}, r"encoder/.* is \[.*\] there and \[.*\] here; give this"),
    ({"pretrained.take": ("^tower/",)}, "pretrained.take holds '.tower/', which is in"),
    ({"pretrained.into": "teacher"}, "method 'supervised' has none; use 'params'"),
  ],
)
def test_weights_that_do_not_fit_are_named(stages, tmp_path, fields, sentence):
  config = smoke(
    "simclr_v2_finetune", **({"pretrained.checkpoint": str(stages[0])} | fields)
  )
  with pytest.raises(ConfigError, match=sentence):
    ssljax.train_and_evaluate(config, tmp_path)
