"""Whatever cannot run is said in one sentence, before anything compiles."""

import importlib
import re

import command_line
import jax
import pytest

import ssljax


def smoke(name="moco_v2_cifar10", **fields):
  """A config in its smoke form with `fields` set; "__" stands for the dot."""
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  for path, value in fields.items():
    *groups, field = path.split("__")
    group = config
    for part in groups:
      group = group[part]
    group[field] = value
  return config


@pytest.fixture
def compiled():
  """The names of what is compiled meanwhile."""
  found = []

  def listen(event, _, **facts):
    if event == "/jax/core/compile/backend_compile_duration":
      found.append(facts.get("fun_name"))

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield found
  jax.monitoring.unregister_event_duration_listener(listen)


WRONG = [  # what is wrong with the config, and what must be said of it
  (
    dict(batch_sise=32),
    r"the config has no field batch_sise=32; .*; did you mean batch_size\?",
  ),
  (
    dict(data__folder="x"),
    r"data\.name='digits' has no field folder='x'; it has name, size",
  ),
  (dict(evals__knn__n=3), r"evals\.knn has no field n=3; it has k, temperature"),
  (
    dict(method__taus=0.9),
    r"method 'moco' has no field taus=0\.9; it has name, temperature",
  ),
  (
    dict(method__name="byol"),
    r"method 'byol' has no field bn_shuffle=.*; it has name, tau",
  ),
  (
    dict(encoder__widht=3),
    r"encoder 'resnet18' has no field widht=3; .*; did you mean width",
  ),
  (
    dict(augment__jiter=()),
    r"augment\.recipe=.* has no field jiter=\(\); .*; did you mean jitter",
  ),
  (dict(optimizer__beta=0.9), r"optimizer '.*' has no field beta=0\.9"),
  (
    dict(method__projector__hiden=3),
    r"method\.projector has no field hiden=3; .*; did you mean hidden",
  ),
  (dict(batch_size=0), r"batch_size=0 must be at least 1"),
  (dict(epochs=-1), r"epochs=-1 must be more than 0"),
  (dict(seed=-1), r"seed=-1 must be at least 0"),
  (dict(log_every=0), r"log_every=0 must be at least 1"),
  (dict(steps_per_dispatch=-1), r"steps_per_dispatch=-1 must be at least 0"),
  (dict(profile=(4, 0)), r"profile\[1\]=0 must be at least 1"),
  (dict(profile=(4, 3)), r"profile=\(4, 3\) ends after the run's 6 steps; try \(3, 3"),
  (dict(checkpoint__every_steps=0), r"checkpoint\.every_steps=0 must be at least 1"),
  (dict(dtype="float16"), r"dtype='float16' must be one of float32, bfloat16"),
  (dict(encoder__name="resnet19"), r"encoder\.name='resnet19' must be .*mean resnet18"),
  (dict(method__name="mocov2"), r"method\.name='mocov2' must be .*did you mean moco\?"),
  (dict(optimizer__name="sdg"), r"optimizer\.name='sdg' must be one of sgd"),
  (
    dict(augment__recipe="mocov3"),
    r"augment\.recipe='mocov3' must be one of.*mean moco_v",
  ),
  (dict(optimizer__learning_rate={"kind": "line"}), r"'line'.*cosine"),
  (
    dict(optimizer__learning_rate={"kind": "cosine"}),
    r"'cosine' needs the field base",
  ),
  (dict(optimizer__exclude=("nowhere",)), r"optimizer\.exclude.*nowhere"),
  (dict(method__queue_size=80), r"queue_size=80 must be a multiple of the batch of 32"),
  (dict(encoder__bn_group_size=7), r"group_size=7 must divide the batch of 32"),
  (dict(encoder__stem="cifa"), r"stem='cifa' must be one of"),
  (dict(method__bn_shuffle="no"), r"bn_shuffle='no' must be one of strided, permute"),
  (dict(batch_size=36), r"batch_size=36 must be a multiple of the 8 devices; try 32"),
  (dict(batch_size=2048), r"batch_size=2048 is larger than the 1437 pictures"),
  (
    dict(steps=None, epochs=10**9),
    r"epochs=1e\+09 are more than 2,147,483,647 steps",
  ),
  (
    dict(steps=None, epochs=10**308),
    r"epochs=1e\+308 are more than 2,147,483,647 steps",
  ),
  (dict(batch_size=10**400), r"batch_size=1000"),
  (dict(optimizer=None), r"optimizer=None must be a group of fields"),
  (dict(data__name="digts"), r"data\.name='digts' is neither .*digits"),
  (dict(data__name="folder"), r"data\.dir is empty"),
  (dict(data__name="folder", data__dir="/none"), r"data\.dir='/none' is no folder"),
  (dict(data__dir="/none"), r"data\.name='digits' has no field dir='/none'"),
]


@pytest.mark.parametrize(
  ("fields", "sentence"), WRONG, ids=[" ".join(fields) for fields, _ in WRONG]
)
def test_a_wrong_value_is_named_and_nothing_compiles(
  fields, sentence, tmp_path, compiled
):
  workdir = tmp_path / "run"
  with pytest.raises(ssljax.ConfigError, match=sentence) as raised:
    ssljax.train_and_evaluate(smoke(**fields), workdir)
  assert "\n" not in str(raised.value)
  assert not compiled
  assert not workdir.exists()


def test_a_folder_of_another_run_is_refused_and_left_alone(tmp_path, compiled):
  old = smoke().to_json()
  (tmp_path / "config.json").write_text(old)
  (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n')
  sentence = r"another config \(seed=0 there, 1 here\); name another --workdir"
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.train_and_evaluate(smoke(seed=1), tmp_path)
  assert (tmp_path / "config.json").read_text() == old
  assert not compiled


def test_a_run_without_its_config_is_refused_and_left_alone(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n')
  with pytest.raises(ssljax.ConfigError, match=r"no config\.json to tell whose"):
    ssljax.train_and_evaluate(smoke(), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(ssljax.ConfigError, match="file is no folder"):
    ssljax.train_and_evaluate(smoke(), tmp_path / "file")


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    (dict(checkpoint=""), r"config\.checkpoint is empty; name a run's folder"),
    (dict(checkpoint="/none"), r"/none holds no run: there is no folder"),
    (dict(evaluator="nkk"), r"evaluator='nkk' must be one of classifier, knn, linear"),
    (
      dict(knn={"temprature": 1.0}),
      r"knn has no field temprature=.*; did you mean temperature",
    ),
    (
      dict(evaluatr="knn"),
      r"the config has no field evaluatr=.*; did you mean evaluator\?",
    ),
  ],
)
def test_an_evaluation_that_cannot_run_is_named(fields, sentence, tmp_path):
  config = importlib.import_module("configs.eval.knn").get_config()
  config.checkpoint = str(tmp_path)
  config.update(fields)
  with pytest.raises(ssljax.ConfigError, match=sentence):
    ssljax.evaluate(config)


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ("--config.foo.bar=3", r"the config has no such group: 'foo'"),
    ("--config.method.tau=0.9", r"has no field tau=0\.9; it has name"),
    ("train", r"unknown argument 'train'; it is --option=VALUE, or one of: list, "),
    ("--cofig=configs/byol_cifar10.py", r"Unknown command line flag 'cofig'"),
  ],
)
def test_the_command_line_ends_with_one_sentence(arguments, sentence, tmp_path):
  code, output, errors = command_line.run(f"--workdir={tmp_path}", *arguments.split())
  assert code == 1
  assert not output
  assert re.fullmatch(rf"error: .*{sentence}.*\n", errors), errors
  assert not list(tmp_path.iterdir())
