"""What evaluators will not get is said before a run begins, and nothing else is."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from ssljax import data, recipe, sharding
from ssljax.data.codec import UnreadableError
from ssljax.data.source import Source, Splits
from ssljax.evals.features import FeatureSet
from ssljax.fields import ConfigError
from ssljax.judge import Judge

ALL = ("knn", "linear", "few_label", "retrieval", "geometry", "copies", "robustness")


class Labelled(Source):
  """Grey pictures that have these labels; the highest tells how many classes."""

  def __init__(self, name, labels, classes=0):
    self.name, self.labels = name, labels
    self.class_names = tuple(map(str, range(classes)))

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, index):
    return {"image": np.zeros((8, 8, 3), np.uint8), "label": self.labels[index]}


@pytest.fixture(scope="module")
def parts():
  config = importlib.import_module("configs.simclr_digits").get_config("smoke")
  splits = recipe.open_data(config)
  plan = recipe.make_plan(config, len(splits.train), splits.train.num_classes)
  return config, recipe.build(config, plan), splits


def allowed(parts, names, splits=None, input="image", **numbers):
  """-> the evaluators that are left, and what was said."""
  config, built, digits = parts
  if input != "image":
    names_of_parts = "embed", "classify", "embed_view", "patches"
    built = SimpleNamespace(
      **{name: getattr(built, name) for name in names_of_parts},
      method=SimpleNamespace(input=input),
    )
  said = []
  judge = Judge(config, built, splits or digits, sharding.make_mesh(), say=said.append)
  for name, value in numbers.items():
    judge.numbers[name] = value
  left = judge.allowed(names)
  assert judge.allowed(names) == left  # and says nothing twice
  return left, said


def test_a_healthy_run_hears_nothing(parts):
  few = {"few_label": {"draws": 2}, "copies": {"queries": 360}}
  left, said = allowed(parts, ALL, knn={"k": 200}, **few)
  assert left == list(ALL)
  assert said == []
  few = Splits(Labelled("train", [0, 1] * 4, 2), Labelled("val", [0, 1], 2))
  assert allowed(parts, (), few) == ([], [])


def test_data_without_labels_is_judged_by_those_who_ask_for_none(parts):
  pile = Splits(Labelled("pile", [-1] * 9), Labelled("rest", [-1] * 9))
  left, said = allowed(parts, ALL, pile)
  assert left == ["geometry", "copies"]
  assert "The evaluator linear is left out: pile has no labels." in said
  left, said = allowed(parts, ("knn",), Splits(pile.train, None))
  assert left == []
  assert said == ["The evaluator knn is left out: pile has nothing to evaluate on."]
  labelled = Labelled("train", [0, 1] * 4, 2)  # ImageNet's "test" has no labels
  assert allowed(parts, ("linear",), Splits(labelled, pile.eval))[0] == []


class Cut(Labelled):
  """As `Labelled`, with every second example cut; who `knows` need not open them."""

  def __init__(self, *args, knows):
    super().__init__(*args)
    self.knows = knows

  def known_labels(self):
    return self.labels if self.knows else None

  def __getitem__(self, index):
    if index % 2 == 0:
      raise UnreadableError("image file is truncated")
    return super().__getitem__(index)


@pytest.mark.parametrize("knows", [True, False])
def test_pictures_that_cannot_be_read_are_passed_over_for_their_labels(parts, knows):
  train, test = [0, 1, 1, 0] * 30, [0, 1] * 4
  names = ("knn", "linear")
  splits = Splits(Cut("train", train, 2, knows=knows), Cut("val", test, 2, knows=knows))
  assert allowed(parts, names, splits, knn={"k": 2}) == (list(names), [])
  pile = Splits(splits.train, Cut("pile", [-1] * 8, knows=knows))
  left, said = allowed(parts, names, pile)
  assert left == []
  assert "The evaluator knn is left out: pile has no labels." in said


def test_one_label_among_many_examples_is_found_where_labels_are_known(parts):
  rare = Splits(Labelled("train", [-1] * 50 + [0, 1] * 50, 2), None)
  rare = rare._replace(eval=Labelled("val", [-1] * 500 + [1] + [-1] * 500))
  left, said = allowed(parts, ("knn",), rare, knn={"k": 2})
  assert left == ["knn"]
  assert "1000 of 1001 examples of val have no label" in said[1]


def test_examples_without_a_label_are_counted_aloud(parts):
  splits = Splits(
    Labelled("train", [-1, -1, *[0, 1] * 40], 2), Labelled("val", [0, -1, 1], 2)
  )
  left, said = allowed(parts, ("knn", "linear"), splits)
  assert left == ["knn", "linear"]
  assert said[0].startswith("2 of 82 examples of train have no label")
  assert said[1].startswith("1 of 3 examples of val have no label")
  assert len(said) == 2


def test_a_label_that_the_training_split_does_not_have_is_said_before(parts):
  splits = Splits(Labelled("train", [0, 1] * 20, 2), Labelled("val", [0, 5], 2))
  left, (said,) = allowed(parts, ("knn",), splits)
  assert left == []
  assert "label=5 is not one of the 2 classes of the training split, 0..1" in said


def test_what_is_refused_at_the_end_leaves_the_others(parts):
  config, built, digits = parts
  y = np.arange(8) % 2
  seen = FeatureSet(
    np.eye(8, dtype=np.float32), y, np.eye(1, 8, dtype=np.float32), y[:1], 2
  )
  said = []
  judge = Judge(config, built, digits, sharding.make_mesh(), say=said.append)
  judge.numbers["knn"] = {"k": 1, "temperature": 0.1}
  assert judge.scores(seen, "geometry", "knn", forgiving=True) == {"knn": 100}
  assert "geometry is left out" in said[0]
  with pytest.raises(ConfigError, match="geometry compares examples"):
    judge.scores(seen, "geometry")


def test_what_looks_at_pictures_is_not_asked_of_sounds(parts):
  names = "copies", "robustness", "attentive", "geometry"
  left, said = allowed(parts, names, input="audio")
  assert left == ["geometry"]
  assert len(said) == 3
  assert "looks at pictures" in said[0]


def test_numbers_too_large_are_lowered_aloud_once(parts):
  splits = Splits(Labelled("train", [0, 1, 1], 2), Labelled("val", [0, 1], 2))
  left, said = allowed(parts, ("knn", "few_label"), splits, knn={"k": 200})
  assert left == ["knn", "few_label"]
  assert said == [
    "knn.k=200: there are 3 training examples; it is 3 now.",
    "few_label.labels_per_class=(1, 5, 20): class 0 has 1 training example with a "
    "label; it is (1,) now.",
  ]


def test_known_labels_need_no_opening():
  digits = data.build(recipe_data("digits")).train
  part = data.source.Subset(digits, [3, 5])
  assert list(part.known_labels()) == [digits[3]["label"], digits[5]["label"]]


def recipe_data(name):
  config = importlib.import_module("configs.simclr_digits").get_config("smoke").data
  config.name = name
  return config


def test_a_split_that_is_judged_on_itself_is_told(parts):
  """By neighbours nobody is their own, and with noise for labels it is chance."""
  config, built, digits = parts
  rng = np.random.default_rng(0)
  noise = Labelled("train", rng.integers(0, 10, 200).tolist(), 10)
  for splits, held_out in (
    (Splits(noise, noise), False),
    (Splits(noise, Labelled("copy", list(noise.labels), 10)), False),
    (Splits(noise, Labelled("other", noise.labels[::-1], 10)), True),
    (digits, True),
  ):
    judge = Judge(config, built, splits, sharding.make_mesh())
    assert judge.held_out is held_out
  said, x = [], rng.normal(size=(200, 8)).astype(np.float32)
  both = Splits(noise, noise)
  judge = Judge(config, built, both, sharding.make_mesh(), say=said.append)
  places, y = np.arange(200), np.array(noise.labels)
  seen = FeatureSet(x, y, x, y, 10, train_index=places, test_index=places)
  judge.numbers["knn"] = {"k": 1, "temperature": 0.1}
  scores = judge.scores(seen._replace(held_out=judge.held_out), "knn")
  assert scores["knn"] < 25
  assert said[0].startswith("The evaluation split is the training split: by kNN each")
