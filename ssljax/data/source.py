"""What a data set is here: N examples by number."""

import abc
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssljax.data import deep
from ssljax.data.codec import Codec, Example, Spec
from ssljax.data.decode import Pictures


def spec(*codecs: Codec) -> Spec:
  """Describes a batch's arrays, without the batch axis: what codecs give, two more."""
  decoded = {k: v for codec in codecs for k, v in codec.spec.items()}
  return {**decoded, "label": ((), "int32"), "index": ((), "int32")}


class Source(abc.ABC):
  """A data set of `len(source)` examples; `source[i]` is always the same one.

  Mostly pictures: "image" is a `decode.Picture`, nothing decoded yet.
  """

  name: str
  class_names: tuple[str, ...] = ()  # by label; empty when unlabelled
  depths: deep.Ranges = deep.UNKNOWN  # of pictures of more than 8 bits, once measured
  root: pathlib.Path | None = None  # where it reads while a run goes on; None: nowhere

  @property
  def num_classes(self) -> int:
    """The number of classes; 0 when unlabelled."""
    return len(self.class_names)

  @property
  def origin(self) -> "Source":
    """The source of these examples as their publisher stores them: not prepared."""
    return self

  def codecs(self, size: int) -> tuple[Codec, ...]:
    """Returns what decodes the examples, at `data.size`; all but their labels."""
    return (Pictures(size, self.depths),)

  def spec(self, size: int) -> Spec:
    """Describes the arrays of its batches at `data.size`, without the batch axis."""
    return spec(*self.codecs(size))

  def save(self, folder: str | os.PathLike) -> None:  # noqa: B027, mostly nothing
    """Saves in a run's folder what opening the source again for that run needs."""

  def path(self, index: int) -> str:
    """Returns what a person knows an example by."""
    return f"{self.name}/{index}"

  def listed(self) -> np.ndarray:
    """The number i64 [N] of each example in the publisher's lists, of folds say.

    Default: its place. ValueError where it was lost on the way.
    """
    return np.arange(len(self))

  def known_labels(self) -> Sequence[int] | None:
    """Returns all labels [N], -1: none; None where that means opening examples."""
    return getattr(self, "labels", None)

  def facts(self) -> dict[str, Any]:
    """Returns what tells the source from other data, unopened: a word -> values.

    Such as names, labels and sizes of all examples, plain values in sequences or
    arrays. Nothing of where they lie: moved data is the same (see `identity`).
    """
    return {}

  @abc.abstractmethod
  def __len__(self) -> int: ...

  @abc.abstractmethod
  def __getitem__(self, index: int) -> Example: ...

  def __iter__(self) -> Iterator[Example]:
    return (self[i] for i in range(len(self)))

  def __getitems__(self, indices: Sequence[int]) -> list[Example]:
    """Reads several examples at once, where a run of records reads faster than one."""
    return [self[i] for i in indices]


class Subset(Source):
  """Some examples of a source, by their numbers."""

  def __init__(self, source: Source, numbers: Sequence[int]):
    self.source, self.numbers = source, [int(i) for i in numbers]
    self.name, self.class_names = source.name, source.class_names
    self.root = source.root

  @property
  def origin(self):
    """Selects these examples as their publisher stores them: not prepared."""
    return Subset(self.source.origin, self.numbers)

  def codecs(self, size: int) -> tuple[Codec, ...]:
    """Returns the codecs of the whole source, at `data.size`."""
    return self.source.codecs(size)

  def spec(self, size: int) -> Spec:
    """Describes the batches' arrays as the whole source does."""
    return self.source.spec(size)

  def save(self, folder: str | os.PathLike) -> None:
    """Saves in a run's folder what opening the whole source again needs."""
    self.source.save(folder)

  def path(self, index: int) -> str:
    """Returns what a person knows the example by, in the whole source."""
    return self.source.path(self.numbers[index])

  def listed(self) -> np.ndarray:
    """The numbers i64 [N] of these examples in the publisher's lists."""
    return self.source.listed()[self.numbers]

  def known_labels(self):
    """Returns the labels of these examples; None where the source does not know."""
    labels = self.source.known_labels()
    return None if labels is None else [labels[i] for i in self.numbers]

  def facts(self):
    """Returns the facts of the whole source, and which of its examples these are."""
    return {**self.source.facts(), "chosen": self.numbers}

  def __len__(self) -> int:
    return len(self.numbers)

  def __getitem__(self, index: int) -> Example:
    return self.source[self.numbers[index]]

  def __getitems__(self, indices: Sequence[int]) -> list[Example]:
    """Reads several examples at once."""
    return self.source.__getitems__([self.numbers[i] for i in indices])


class Splits(NamedTuple):
  """The sources that a run trains on and is evaluated on."""

  train: Source
  eval: Source | None
