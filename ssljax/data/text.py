"""Documents as passages of consecutive sentences: in folders, or scikit-learn's own."""

import importlib.resources
import pathlib
import re
from collections.abc import Iterable

from absl import logging

from ssljax.data import places, tree
from ssljax.data.codec import Example
from ssljax.data.source import Source, Splits
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
LETTERS = re.compile(r"[^\W\d_]{2}")  # lines of signs and numbers are no sentences
HELD_OUT = 5  # of the descriptions every fifth passage is for evaluation

Passage = tuple[str, ...]


class Passages(Source):
  """N sentences that follow one another in a document; its last few may be left out."""

  def __init__(
    self,
    name: str,
    passages: list[Passage],
    labels: list[int],
    classes: Iterable[str],
  ):
    self.name, self.passages, self.labels = name, passages, labels
    self.class_names = tuple(classes)
    self.text_shape = (len(passages[0]),)
    self.captions = [sentence for passage in passages for sentence in passage]

  def facts(self):
    """Returns all sentences, and what they are labelled with."""
    return {"sentences": self.passages, "labels": self.labels}

  def __len__(self) -> int:
    return len(self.passages)

  def __getitem__(self, index: int) -> Example:
    return {"caption": self.passages[index], "label": self.labels[index]}

  def codecs(self, size: int):
    """Returns no codec: all there is is text."""
    return ()


def splits(
  *, sentences: Count = 8, dir: str = "", train_split: str = "", eval_split: str = ""
) -> Splits:
  """Opens text files in the tree `dir`, as `tree.splits` sorts them, in passages."""
  kind = tree.Kind(
    "document", "documents", frozenset((".txt", ".md", ".rst")), pathlib.Path.read_bytes
  )
  return Splits(
    *(
      source and _read(source, sentences)
      for source in tree.splits(kind, dir, train_split, eval_split)
    )
  )


def descriptions(*, sentences: Count = 4) -> Splits:
  """Opens scikit-learn's descriptions of its data sets: English without a download.

  What a passage is labelled with is the data set that it describes.
  """
  files = importlib.resources.files("sklearn.datasets.descr").iterdir()
  files = sorted((f for f in files if f.name.endswith(".rst")), key=lambda f: f.name)
  classes = [file.name.removesuffix(".rst") for file in files]
  parts = [], []
  for label, file in enumerate(files):
    for i, passage in enumerate(cut(file.read_text(encoding="utf-8"), sentences)):
      parts[i % HELD_OUT == HELD_OUT - 1].append((passage, label))
  return Splits(
    *(
      Passages("descriptions", *map(list, zip(*p, strict=True)), classes) for p in parts
    )
  )


def cut(document: str, count: int) -> list[Passage]:
  """Cuts a document into its sentences, `count` after `count`; a rest is left out."""
  if count < 2:
    raise ConfigError(
      f"data.sentences={count} must be 2 or more: some to read, some to predict; try 8"
    )
  sentences = list(_sentences(document))
  return [
    tuple(sentences[i : i + count]) for i in range(0, len(sentences) - count + 1, count)
  ]


def _sentences(document: str) -> Iterable[str]:
  for paragraph in re.split(r"\n\s*\n", document):
    for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
      if LETTERS.search(sentence):
        yield sentence


def _read(files: tree.Folder, sentences: int) -> Passages:
  passages: list[Passage] = []
  labels: list[int] = []
  foreign = []
  for i, example in enumerate(files):
    file = example["document"]
    text = file.read_text(encoding=places.encoding(file), errors="replace")
    if "\N{REPLACEMENT CHARACTER}" in text:
      foreign.append(files.path(i))
    document_passages = cut(text, sentences)
    passages += document_passages
    labels += [example["label"]] * len(document_passages)
  if foreign:
    logging.warning(
      "Letters of %s are lost, as they are no UTF-8, in %d documents: %s",
      *(files.name, len(foreign), places.listed(foreign)),
    )
  if not passages:
    raise ConfigError(
      f"data.sentences={sentences}: no document in {files.name!r} has so many; try 2"
    )
  return Passages(files.name, passages, labels, files.class_names)
