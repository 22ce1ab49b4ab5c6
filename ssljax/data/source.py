"""What a data set is here: N examples by number."""

import abc
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np

Picture = bytes | pathlib.Path | np.ndarray  # encoded, a file, or uint8 [H,W,3]


class Example(TypedDict):
  """One record as it is stored; nothing is decoded yet."""

  image: Picture
  label: int  # -1: unlabelled


class Source(abc.ABC):
  """`len(source)` examples; `source[i]` is always the same one."""

  name: str
  class_names: tuple[str, ...] = ()  # by label; empty when unlabelled

  @property
  def num_classes(self) -> int:
    """0 when unlabelled."""
    return len(self.class_names)

  @abc.abstractmethod
  def __len__(self) -> int: ...

  @abc.abstractmethod
  def __getitem__(self, index: int) -> Example: ...

  def __iter__(self) -> Iterator[Example]:
    return (self[i] for i in range(len(self)))

  def __getitems__(self, indices: Sequence[int]) -> list[Example]:
    """Several at once, for sources that read a run of records faster than one."""
    return [self[i] for i in indices]


class Splits(NamedTuple):
  """What a run trains on and what it is evaluated on."""

  train: Source
  eval: Source | None
