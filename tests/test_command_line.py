"""What people type becomes a config, or a sentence; what there is can be listed."""

import math

import pytest

from ssljax import command_line, recipe
from ssljax.command_line import HOME, listing
from ssljax.fields import ConfigError, as_path


def typed(*arguments, config="simclr_digits"):
  """The config that these arguments make of another."""
  overrides, rest = command_line.split(arguments)
  assert not rest
  _, loaded = command_line.load(config)
  for path, text in overrides:
    command_line.override(loaded, path, text)
  return loaded


@pytest.mark.parametrize(
  ("argument", "read", "value"),
  [
    ("--config.batch_size=64", lambda c: c.batch_size, 64),
    ("--config.batch_size=1e2", lambda c: c.batch_size, 100),
    ("--config.epochs=0.5", lambda c: c.epochs, 0.5),
    ("--config.data.in_memory=false", lambda c: c.data.in_memory, False),
    ("--config.data.dir=~/a=b, c", lambda c: c.data.dir, "~/a=b, c"),
    ("--config.data.dir=", lambda c: c.data.dir, ""),
    ("--config.data.name=0", lambda c: c.data.name, "0"),
    ("--config.steps=None", lambda c: c.steps, None),
    ("--config.steps=7", lambda c: c.steps, 7),
    ("--config.evals.at_end=knn,linear", lambda c: c.evals.at_end, ("knn", "linear")),
    ("--config.evals.at_end=knn", lambda c: c.evals.at_end, ("knn",)),
    ("--config.evals.at_end=('knn',)", lambda c: c.evals.at_end, ("knn",)),
    ("--config.evals.at_end=", lambda c: c.evals.at_end, ()),
    ("--config.evals.at_end=()", lambda c: c.evals.at_end, ()),
    ("--config.evals.knn.k=(5, 20)", lambda c: c.evals.knn.k, (5, 20)),
    ("--config.augment.jitter=.1,.2,0,0", lambda c: c.augment.jitter, (0.1, 0.2, 0, 0)),
    (
      "--config.optimizer.learning_rate=1e-3",
      lambda c: c.optimizer.learning_rate,
      1e-3,
    ),
    (
      "--config.optimizer.weight_decay={'kind': 'cosine', 'base': 0.1}",
      lambda c: c.optimizer.weight_decay.to_dict(),
      {"kind": "cosine", "base": 0.1},
    ),
    ("--config.method.projector.norm=False", lambda c: c.method.projector.norm, False),
    ("-config.seed=3", lambda c: c.seed, 3),
  ],
)
def test_a_value_means_what_its_field_takes(argument, read, value):
  found = read(typed(argument))
  assert found == value
  assert type(found) is type(value)


def test_a_value_may_stand_behind_a_space_and_the_last_one_wins():
  c = typed("--config.seed", "3", "--config.batch_size=8", "--config.seed=4")
  assert (c.seed, c.batch_size) == (4, 8)


def test_what_stands_where_a_schedule_or_a_list_stood_trains():
  c = typed(
    "--config.optimizer.learning_rate=0.001", "--config.evals.at_end=knn,linear"
  )
  recipe.check(c)
  parts = recipe.build(c, recipe.make_plan(c, 1437, 10))
  assert math.isclose(parts.rates(0)["learning_rate"], 1e-3, rel_tol=1e-6)


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    (["--config.batch_size=abc"], r"--config\.batch_size=abc must be a number"),
    (["--config.data.in_memory=7"], r"in_memory=7 must be True or False"),
    (
      ["--config.method=simclr"],
      r"method=simclr must be a dict of fields, as in .*\.na",
    ),
    (["--config.data=3"], r"--config\.data=3 must be a dict of fields"),
    (
      ["--config.optimizer.learning_rate={{'kind': 'cosine'}}"],
      r"learning_rate=\{\{'kind': 'cosine'\}\} must be a number or a dict",
    ),
    (
      ["--config.optimizer.groups={'a.b': {'weight_decay': 0}}"],
      r"groups=\{'a\.b': .*dots.*; in a pattern \[\^/\] stands for any character",
    ),
    (["--config.seed"], r"--config\.seed has no value; write --config\.seed=VALUE"),
    (["--config.seed", "--workdir=x"], r"--config\.seed has no value"),
    (["--config.optimizr.name=sgd"], r"no such group: 'optimizr'; did you mean optim"),
    (["--config.seed.x=1"], r"no such group: 'seed'; seed is 0"),
  ],
)
def test_a_value_that_cannot_be_is_named(arguments, sentence):
  with pytest.raises(ConfigError, match=sentence):
    typed(*arguments)


@pytest.mark.parametrize(
  "spelling",
  [
    *("configs/byol_cifar10.py", "configs/byol_cifar10", "byol_cifar10"),
    *("byol_cifar10.py", str(HOME / "configs" / "byol_cifar10.py")),
  ],
)
def test_a_config_is_found_from_anywhere(spelling, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  name, config = command_line.load(f"{spelling}:smoke")
  assert (name, config.method.name, config.steps) == ("byol_cifar10", "byol", 6)


def test_a_config_of_this_folder_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  text = "from configs import simclr_digits\n\n\ndef get_config():\n"
  text += "  c = simclr_digits.get_config()\n  c.seed = 5\n  return c\n"
  (tmp_path / "byol_cifar10.py").write_text(text)
  assert command_line.load("byol_cifar10")[1].seed == 5
  with pytest.raises(ConfigError, match="byol_cifar10 has no variants, and ':smoke'"):
    command_line.load("byol_cifar10:smoke")


@pytest.mark.parametrize(
  ("argument", "sentence"),
  [
    ("configs/simclr_cifr10.py", r"did you mean configs/simclr_cifar10\.py\?"),
    ("eval/linear_mco", r"did you mean configs/eval/linear_moco\.py\?"),
    ("nothing_like_it_at_all", r"is no file, here or in .*; --help lists all recipes"),
    ("pyproject.toml", r"pyproject\.toml is no recipe, which is a file of Python"),
    *((name, r"--config=\S* names no file") for name in ("", ".", "/")),
    ("ssljax/memory.py", r"memory\.py defines no get_config"),
    ("simclr_digits:tiny", r"config variant ':tiny' must be one of: smoke"),
  ],
)
def test_a_config_that_does_not_exist_has_a_neighbour(argument, sentence):
  with pytest.raises(ConfigError, match=sentence):
    command_line.load(argument)


def test_a_mistake_in_a_config_s_code_keeps_its_traceback(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("def get_config(variant=''):\n  return {}['sed']\n")
  with pytest.raises(KeyError, match="sed"):
    command_line.load(str(file))


def test_help_lists_every_recipe_and_protocol_with_its_claim():
  text = listing.recipes()
  for file in (HOME / "configs").rglob("*.py"):
    if file.stem != "common":
      assert f" {file.stem} " in text, file
  assert "byol             byol_cifar10               cifar10 " in text
  assert "lightly: kNN 86.8 (batch 512" in text


def test_every_config_s_fields_can_be_listed():
  for file in (HOME / "configs").rglob("*.py"):
    if file.stem != "common":
      _, config = command_line.load(str(file))
      text = listing.fields_text(config)
      assert text.startswith("field "), file
      assert "anything" not in text, file


def test_the_list_of_fields_tells_value_range_default_and_source():
  text = listing.fields_text(command_line.load("byol_imagenet")[1])
  lines = {line.split()[0]: " ".join(line.split()) for line in text.split("\n")}
  assert lines["batch_size"].startswith("batch_size 4096 a whole number at least 1 ")
  assert lines["method.tau.base"] == (
    "method.tau.base 0.996 a number - ssljax/schedules.py"
  )
  assert "a schedule a number or a schedule" in lines["method.tau"]
  assert lines["augment.gray_p"] == (
    "augment.gray_p - a number at least 0 and at most 1 0.2 ssljax/augment/views.py"
  )
  protocol = listing.fields_text(command_line.load("eval/knn")[1])
  assert "knn.temperature" in protocol
  assert "ssljax/evals/knn.py" in protocol


@pytest.mark.parametrize(
  ("address", "driver"),
  [("gs://bucket/runs/a", "gcsfs"), ("s3://b/c", "s3fs"), ("gs:/b/c", "gcsfs")],
)
def test_an_address_is_no_folder(address, driver):
  """pathlib would make a folder `gs:` of it, here."""
  with pytest.raises(ConfigError, match=rf"needs {driver} .*; pip install {driver}"):
    as_path(address)
