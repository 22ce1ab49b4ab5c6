"""A part of the training split: what probes choose on, and few labels to learn from."""

import contextlib
from collections.abc import Iterable
from typing import Annotated

import numpy as np

from ssljax import fields
from ssljax.data.codec import UnreadableError
from ssljax.data.source import Source, Splits, Subset
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Number, Range


@fields.checked("data")
def take(
  splits: Splits,
  *,
  held_out: Annotated[float, Range(0, below=1)] = 0.0,
  per_class: Number = 0,
) -> Splits:
  """Takes less of the training split: `held_out` apart, then `per_class` of each class.

  A share `held_out` of the training split, drawn at random, takes the place of the
  evaluation split, so that what is chosen is not chosen on the test. Which examples
  are drawn depends on their number alone: every run and encoder meets the same ones.
  ConfigError where nothing is left, a class has fewer than `per_class`, or there are
  no labels.
  """
  train, test = splits
  rng = np.random.default_rng(0)
  numbers = rng.permutation(len(train))
  if held_out:
    count = max(1, round(held_out * len(train)))
    if count >= len(train):
      raise ConfigError(
        f"data.held_out={held_out} leaves none of the {len(train)} examples to train "
        "on; hold out less"
      )
    test = Subset(train, np.sort(numbers[:count]))
    numbers = numbers[count:]
  if per_class:
    numbers = _of_each_class(train, numbers, per_class)
  if held_out or per_class:
    train = Subset(train, np.sort(numbers))
  return Splits(train, test)


def labels_of(source: Source, at_most: int | None = None) -> Iterable[int]:
  """Returns all labels [N], -1: none, or it cannot be read.

  A source that does not know them is opened: at `at_most` examples spread over it.
  """
  known = source.known_labels()
  if known is not None:
    return known
  numbers = np.linspace(0, len(source) - 1, at_most or len(source)).astype(int)
  return (_opened(source, i) for i in numbers.tolist())


def _opened(source: Source, number: int) -> int:
  with contextlib.suppress(UnreadableError):  # met again, and said, when decoded
    return source[number]["label"]
  return -1


def _of_each_class(source, numbers, count):
  if not source.num_classes:
    raise ConfigError(
      f"data.per_class={count} needs labels, and {source.name} has none"
    )
  labels = np.array(list(labels_of(source)))[numbers]
  chosen = []
  for label, name in enumerate(source.class_names):
    of_class = numbers[labels == label]
    if len(of_class) < count:
      raise ConfigError(
        f"data.per_class={count} is more than the {len(of_class)} examples of {name!r}"
      )
    chosen.append(of_class[:count])
  return np.concatenate(chosen)
