"""Whatever a field may not be is refused by name, whatever the config."""

import importlib
import math
import pathlib
import random
import re
import typing
from collections.abc import Sequence

import pytest
from ml_collections import ConfigDict

from ssljax import fields, recipe, schedules
from ssljax.fields import ConfigError, ranges
from ssljax.protocols import evaluate as protocols

FOLDER = pathlib.Path(__file__).parent.parent / "configs"
RUNS = sorted(path.stem for path in FOLDER.glob("*_*.py"))
ROOMS = ("eval", "weights")
PROTOCOLS = sorted(f"{r}.{p.stem}" for r in ROOMS for p in FOLDER.glob(f"{r}/*.py"))
PROTOCOLS = [name for name in PROTOCOLS if name not in ("eval.common", "eval.compare")]
NO_NUMBER = [math.nan, math.inf, "many", [], None]
FREE = {  # numbers of which any is possible
  *("mean", "base", "start", "end"),  # those of a schedule are its field's
}


def load(name):
  config = importlib.import_module(f"configs.{name}").get_config()
  if "checkpoint" in config and name.startswith("eval."):
    config.checkpoint = "runs/one"
  return config


def room(config):
  return protocols if "evaluator" in config else recipe


def declarations(config):
  """Path -> annotation, of every field that this config can have."""
  for group in room(config).declare(config):
    values = fields.at(config, group.path)
    for name, field in group.fields.items():
      yield fields.join(group.path, name), field.hint
      value = values.get(name)
      if isinstance(value, ConfigDict) and "kind" in value:
        path = fields.join(group.path, name)
        inner = schedules.declare(path, value).fields.items()
        yield from ((fields.join(path, k), f.hint) for k, f in inner)
        bounds = [k for k in schedules.BOUNDS if k in value]
        yield from ((fields.join(path, k), field.hint) for k in bounds)


def outside(hint):
  """Values that are none of an annotation's, by its rules and by its type."""
  plain, rules = hint, ()
  if typing.get_origin(hint) is typing.Annotated:
    plain, *rules = typing.get_args(hint)
  yield from (value for rule in rules for value in rule.outside())
  if plain in (int, float):
    yield from NO_NUMBER
  if plain is int:
    yield from (
      1.5,
      True,
    )  # ml_collections makes a number of a truth in a float's place
  if plain is bool:
    yield from ("maybe", 2, None)
  if plain is str:
    yield from (3, ())
  inner = typing.get_args(plain)
  if typing.get_origin(plain) is tuple and inner[-1] is not ...:
    yield from ("text", 3, ())
  elif typing.get_origin(plain) in (tuple, Sequence):
    yield from ("text", 3)
    yield from ((value,) for value in outside(inner[0]))


def with_value(config, path, value):
  config = config.copy_and_resolve_references()
  *groups, name = path.split(".")
  group = config
  for part in groups:
    group = group[part]
  with group.unlocked(), group.ignore_type():
    group[name] = value
  return config


@pytest.mark.parametrize("name", [*RUNS, *PROTOCOLS])
def test_a_value_outside_its_range_is_refused_by_its_path(name):
  """One drawn for every field, by its declaration; most fields have many configs."""
  config = load(name)
  drawn = 0
  for path, hint in declarations(config):
    if any(type(hint) is type(None) for hint in typing.get_args(hint)):
      continue
    values = list(outside(hint))
    for value in random.Random(f"{name} {path}").sample(values, min(1, len(values))):
      if path.startswith("data.") and value in (None, ""):
        continue  # stand for the default
      if path.endswith((".name", ".recipe", ".kind")) or path == "evaluator":
        sentence = re.escape(path)  # what it names has other fields
      else:
        sentence = rf"^{re.escape(path)}(\[.*\])?=\S"
      changed = with_value(config, path, value)
      with pytest.raises(ConfigError, match=sentence) as raised:
        room(config).check(changed)
      assert "\n" not in str(raised.value)
      drawn += 1
  assert drawn >= 5


@pytest.mark.parametrize("name", [*RUNS, *PROTOCOLS])
def test_no_number_of_a_config_is_without_a_range(name):
  for path, hint in declarations(load(name)):
    bare = hint in (int, float) or str(hint) in ("tuple[float, ...]", "tuple[int, ...]")
    assert not bare or path.split(".")[-1] in FREE, path


# What people tried, most of which once ran to the end.
TRIED = [
  ("simclr_digits", "method.temperature", -1),
  ("simclr_digits", "method.temperature", 0),
  ("simclr_digits", "optimizer.learning_rate.base", -0.1),
  ("simclr_digits", "optimizer.weight_decay", -1),
  ("simclr_digits", "augment.flip", 2),
  ("simclr_digits", "encoder.width", 0),
  ("simclr_digits", "seed", 99999999999999999999),
  ("simclr_digits", "batch_size", 1),
  ("simclr_digits", "batch_size", True),
  ("simclr_digits", "epochs", math.inf),
  ("simclr_digits", "method.projector.out", 0),
  ("simclr_digits", "evals.at_end", ("knm",)),
  ("moco_v2_cifar10", "method.momentum", 1.5),
  ("moco_v2_cifar10", "method.queue_size", 0),
  ("byol_imagenet", "method.tau.base", 1.01),
  ("mae_cifar10", "method.mask_ratio", 1.0),
  ("mae_cifar10", "method.decoder.depth", -3),
  ("mae_imagenet", "encoder.drop_path", 1.0),
  ("vicreg_cifar10", "method.covariance", -1.0),
  ("swav_cifar10", "method.epsilon", 0.0),
  ("dino_imagenet", "augment.local_views", -1),
  ("dino_imagenet", "optimizer.clip_per_parameter", -3.0),
  ("simclr_digits", "steps", 2**31),
  ("eval.knn", "knn.temperature", 0),
  ("eval.knn", "knn.k", (10, 0)),
  ("eval.linear_grid", "data.held_out", 1.0),
  ("eval.linear_grid", "training.optimizer.momentum", 1.0),
  ("eval.linear_grid", "training.method.rates", (-1.0,)),
  ("eval.robustness", "robustness.severities", (6,)),
]


@pytest.mark.parametrize(("name", "path", "value"), TRIED)
def test_a_number_that_cannot_be_is_named_with_its_value(name, path, value):
  config = with_value(load(name), path, value)
  with pytest.raises(ConfigError, match=rf"{re.escape(path)}(\[\d\])?=") as raised:
    room(config).check(config)
  shown = value[-1] if isinstance(value, tuple) else value
  assert repr(shown) in str(raised.value)
  if path != "batch_size":
    assert str(raised.value).endswith(f"; it is set by --config.{path}")


@pytest.mark.parametrize(
  ("hint", "words"),
  [
    (ranges.Positive, "a number more than 0"),
    (ranges.Share, "a number at least 0 and at most 1"),
    (ranges.Count | None, "a whole number at least 1 or None"),
    (tuple[ranges.Count, ...], "a tuple of whole numbers at least 1"),
    (ranges.Seed, "a whole number at least 0 and at most 4294967295"),
    (schedules.ShareSchedule, r"a number or a schedule .* at least 0 and at most 1"),
  ],
)
def test_a_range_is_said_in_words(hint, words):
  assert re.fullmatch(words, ranges.describe(hint))


def test_a_method_built_without_a_config_is_held_to_its_ranges_too():
  from flax import linen as nn

  from ssljax.methods.simclr import SimCLR
  from ssljax.nets.heads import MLP

  with pytest.raises(ConfigError, match=r"method\.temperature=-1 must be more than 0"):
    SimCLR(nn.Dense(3), temperature=-1)
  with pytest.raises(ConfigError, match=r"MLP\.layers=0 must be at least 1"):
    MLP(layers=0, out=3)
