"""From a run's folder to features, and to the evaluations that read one."""

import importlib
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import ssljax
from ssljax import augment, data, encoder, recipe, schedules, sharding
from ssljax.judge import Judge
from ssljax.protocols import transfer
from ssljax.protocols.case import Case
from ssljax.weights import pretrained


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
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
  for batch_size in (360, 100):
    features = ssljax.load_encoder(workdir, batch_size)(splits.eval.images)
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
      "attentive",
      {"attentive.steps": 2},
      ["linear", "linear_top5", "attentive", "attentive_top5"],
    ),
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
  (path,) = tmp_path.glob(f"{name}*.json")
  report = json.loads(path.read_text())
  assert report["protocol"] == name
  assert report["results"] == rows
  assert report["step"] == 6
  for row in rows.values():
    assert np.isfinite(list(row.values())).all()
  assert rows["trained encoder"].keys() >= set(keys)


def test_a_folder_without_a_finished_checkpoint_is_named(tmp_path):
  with pytest.raises(ssljax.ConfigError, match="holds no run: there is no folder"):
    ssljax.load_encoder(tmp_path)
  folder = tmp_path / "checkpoints"
  for begun, sentence in (
    (folder, "holds no finished checkpoint: .* is empty"),
    (folder / "weights", r"nothing in .* is a checkpoint of ssljax \(weights\)"),
    (folder / "3.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp was begun, and is no"),
  ):
    begun.mkdir()
    with pytest.raises(ssljax.ConfigError, match=sentence):
      ssljax.load_encoder(tmp_path)


def test_fine_tuning_starts_from_the_weights_that_are_judged(workdir):
  """Of DINO those are the teacher's."""
  mesh = sharding.make_mesh()
  trained = encoder.restore(workdir, mesh)
  training = importlib.import_module("configs.eval.finetune").get_config().training
  config = transfer.compose(training, workdir, trained, {})
  config.batch_size = 64
  parts = recipe.build(config, recipe.make_plan(config, 1437, 10))
  new = jax.eval_shape(parts.init, data.zeros(trained.spec, 64))
  new = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), new)
  state = pretrained.start(config, new, mesh)
  teacher = trained.state.target["params"]["encoder"]
  jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], teacher)
  student = trained.state.params["encoder"]["conv1"]["kernel"]
  assert np.any(teacher["conv1"]["kernel"] != student)


def test_a_probe_sees_the_colours_that_the_run_saw():
  config = importlib.import_module("configs.cmc_cifar10").get_config("smoke")
  plan, state = schedules.Plan(8, 8, 1, 20), SimpleNamespace(step=7)
  trained = encoder.Trained(config, None, state, {}, plan, "", {})
  training = importlib.import_module("configs.eval.linear_moco").get_config().training
  composed = transfer.compose(training, "runs/cmc", trained, {"name": "cifar100"})
  seen, run = map(augment.configure, (composed.augment, config.augment))
  assert (seen.colour, seen.mean, seen.std) == ("lab", run.mean, run.std)
  assert composed.pretrained.step == 7
  assert composed.data.name == "cifar100"


def test_results_of_other_steps_and_data_have_names_of_their_own():
  config = importlib.import_module("configs.eval.knn").get_config()
  name = lambda: Case(config, None, None, None, None).name  # noqa: E731
  assert name() == "knn"
  config.step, config.data.name = 30, "imagenet2012_subset/1pct"
  config.data.train_split = "train[:20%]"
  assert name() == "knn-step30-imagenet2012_subset_1pct-train_:20%_"


def test_the_answer_to_another_question_keeps_its_name(tmp_path):
  config = importlib.import_module("configs.eval.knn").get_config()
  case = Case(config, tmp_path, tmp_path, None, None)
  case.__dict__["identity"] = {"train": {"names": "a", "times": "1"}}
  asked = {"numbers": {"k": (5,)}, "data": {"name": "digits", "dir": "here"}}
  assert case.result_name(asked) == "knn"
  there = {"evaluator": "knn", "identity": case.identity, **asked}
  (tmp_path / "knn.json").write_text(json.dumps(there))
  moved = {**asked, "data": {"name": "digits", "dir": "there", "workers": 3}}
  case.__dict__["identity"] = {"train": {"names": "a", "times": "2"}}
  assert case.result_name(moved) == "knn"
  assert case.result_name({**asked, "numbers": {"k": (5, 10)}}) == "knn-k5_10"
  config.evaluator, config.protocol = "linear", "knn"
  assert case.result_name(asked) == "knn-evaluator_linear"
  config.evaluator = "knn"
  case.__dict__["identity"] = {"train": {"names": "b", "times": "1"}}
  other = case.result_name(asked)
  assert other.startswith("knn-data")
  (tmp_path / f"{other}.json").write_text(json.dumps({**there, "identity": {}}))
  assert case.result_name(asked) not in ("knn", other)


def test_features_are_not_taken_for_those_of_other_pictures(tmp_path):
  config = importlib.import_module("configs.eval.knn").get_config()
  config.data.update(name="folder", dir=str(tmp_path / "pile"))
  run = importlib.import_module("configs.simclr_folder").get_config("smoke")
  trained = SimpleNamespace(config=run, identity="1", learned={})

  def rests_on():
    return Case(config, tmp_path, None, None, trained).rests_on

  (tmp_path / "pile").mkdir()
  known = []
  for name in ("a", "b", "c"):
    Image.fromarray(pictures(8, 8, 3)).save(tmp_path / "pile" / f"{name}.png")
    known.append(rests_on())
  assert known[0] != known[1] != known[2]
  assert known[2] == rests_on()
