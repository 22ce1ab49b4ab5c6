"""Pictures with captions: from a table, or made of the names of classes."""

import contextlib
import csv
import itertools
import json
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple, TextIO

import numpy as np

from ssljax.data import identity, labels, places
from ssljax.data.codec import Example
from ssljax.data.source import Source, Splits
from ssljax.data.tokenizer import Texts, Tokenizer
from ssljax.data.tree import CHECK_AT_MOST
from ssljax.fields import ConfigError, as_path
from ssljax.fields.ranges import Range

TABLES = ("captions.csv", "captions.jsonl")
ENDINGS = (".csv", ".jsonl")
PARTING = {",": "comma", ";": "semicolon", "\t": "tab"}  # as spreadsheets part cells


class Row(NamedTuple):
  """A line of a table: a file, its caption and, if there is any, its label."""

  file: str
  caption: str
  label: str  # "": none


class Pairs(Source):
  """Reads pictures and captions by a table; `class_names` are its labels, sorted."""

  def __init__(
    self, table: pathlib.Path, rows: list[Row], classes: labels.Classes | None = None
  ):
    self.name = places.printable(str(table))
    self.root, self.rows = table.parent, rows
    self.captions = [row.caption for row in rows]
    self.labels, self.class_names = labels.assign(
      [row.label for row in rows], f"'label' of {self.name!r}", classes
    )

  def facts(self):
    """Returns the table's columns, sizes and times of its files."""
    names, captions, written = map(list, zip(*self.rows, strict=True))
    files = identity.of_files(self.root, names)
    return {**files, "captions": captions, "labels": written}

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, index: int) -> Example:
    row, label = self.rows[index], self.labels[index]
    return {"image": self.root / row.file, "caption": row.caption, "label": label}


class Captioned(Source):
  """A source whose examples also have a "text": their captions, or class names.

  With `templates` a caption is one of them with the class's name for "{}"; which one
  is a function of the example's number. Without a label it is empty.
  """

  def __init__(self, source: Source, templates: Sequence[str], tokenizer: Tokenizer):
    self.source, self.templates, self.tokenizer = source, templates, tokenizer
    self.name, self.class_names = source.name, source.class_names
    self.root = source.root

  @property
  def origin(self):
    """Captions the examples as their publisher stores them: not prepared."""
    return Captioned(self.source.origin, self.templates, self.tokenizer)

  def known_labels(self):
    """Returns the labels [N] of the source, as far as it knows them unopened."""
    return self.source.known_labels()

  def facts(self):
    """Returns the source's facts, and the templates that say its classes."""
    templates = {"templates": list(self.templates)} if self.templates else {}
    return {**self.source.facts(), **templates}

  def path(self, index: int) -> str:
    """Returns what a person knows the example by, in the source."""
    return self.source.path(index)

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Example:
    return self.__getitems__([index])[0]

  def __getitems__(self, indices: Sequence[int]) -> list[Example]:
    examples = self.source.__getitems__(indices)
    if not self.templates:
      return examples
    pairs = zip(indices, examples, strict=True)
    return [{**e, "caption": self._caption(i, e["label"])} for i, e in pairs]

  def _caption(self, index: int, label: int) -> str:
    if label < 0:
      return ""
    which = zlib.crc32(b"%d" % index) % len(self.templates)
    return say(self.templates[which], self.class_names[label])

  def codecs(self, size: int):
    """Returns the source's codecs, and that of the caption."""
    shape = getattr(self.source, "text_shape", ())
    return (*self.source.codecs(size), Texts(self.tokenizer, shape))

  def save(self, folder):
    """Saves the tokenizer, which was trained for this run, in its folder."""
    self.tokenizer.save(folder)


def splits(*, dir: str = "", train_split: str = "", eval_split: str = "") -> Splits:
  """Opens the table in the folder `dir`: files, captions and, if any, labels.

  It is captions.csv with the columns file, caption and label, which may be absent; or
  captions.jsonl, an object with these a line. Files are named from the table's folder.
  Every line is an example: a picture of five captions is there five times. Labels are
  stripped, and "", -1 and nan are none. The splits are subfolders with a table each, or
  tables; default: what is called like one, in any case (`places.TRAIN`, `places.EVAL`),
  else one table to train on. Raises ValueError.
  """
  root = as_path(dir)
  if not dir or not root.is_dir():
    raise ConfigError(
      f"data.dir={dir!r} is no folder; name the one of {' or '.join(TABLES)}"
    )
  table = _table(root, "train_split", train_split, places.TRAIN) or _table_of(root)
  if not table:
    raise ConfigError(
      f"data.dir={dir!r} holds no {' or '.join(TABLES)}; write one with the columns "
      "file, caption and, if there are any, label"
    )
  train = Pairs(table, read(table))
  table = _table(root, "eval_split", eval_split, places.EVAL)
  return Splits(train, Pairs(table, read(table), train.class_names) if table else None)


def add(
  sources: Splits,
  folder: pathlib.Path | None,
  *,
  captions: Sequence[str] = (),
  vocabulary: Annotated[int, Range(2)] = 49408,
  context: Annotated[int, Range(2)] = 77,
  tokenizer: str = "",
) -> Splits:
  """Adds "text" i32 [context] to the examples of both sources.

  `captions` are templates such as "a photo of a {}." for labelled sources without
  captions of their own. The tokenizer of at most `vocabulary` ids is that of a run's
  `folder`; of a new run it is the one at `tokenizer`, a file or another run's folder,
  or without one it is trained on what the training split can say.
  """
  if captions:
    _check_templates(captions, sources.train)
  if folder:
    learned = Tokenizer.load(folder)
  elif tokenizer:
    learned = Tokenizer.open(as_path(tokenizer), vocabulary, context)
  else:
    names = sources.train.class_names
    texts = [say(t, n) for n in names for t in captions] or sources.train.captions
    learned = Tokenizer.train(texts, vocabulary, context)
  return Splits(*(s and Captioned(s, tuple(captions), learned) for s in sources))


def say(template: str, name: str) -> str:
  """Fills a template: ("a photo of a {}.", "fire_truck") -> "a ... fire truck."."""
  return template.replace("{}", name.replace("_", " "))


def prompts(
  tokenizer: Tokenizer, names: Sequence[str], templates: Sequence[str]
) -> np.ndarray:
  """Tokenizes C class names in P templates -> i32 [C,P,T]."""
  ids = tokenizer.encode([say(t, name) for name in names for t in templates])
  return ids.reshape(len(names), len(templates), -1)


def read(table: pathlib.Path) -> list[Row]:
  """Reads all rows of a table; ValueError names the first line that is none."""
  rows, names = [], set()
  try:
    for line, entries in _lines(table):
      rows.append(_row(table, line, entries))
      names |= entries.keys()
  except UnicodeError as error:
    raise ConfigError(
      f"data.dir: {str(table)!r} is no table in UTF-8: {error}; write it anew"
    ) from error
  if not rows:
    raise ConfigError(f"data.dir: {str(table)!r} has no rows; it needs file, caption")
  labels.warn_unread(str(table), names, Row._fields)
  return rows


def _row(table: pathlib.Path, line: int, entries: dict) -> Row:
  row = Row(*(_text(entries.get(name)) for name in Row._fields))
  if not all(isinstance(value, str) for value in row):
    fault = "what it holds is not text"
  elif not row.file or not row.caption.strip():
    fault = f"it needs file and caption and has {row.file!r} and {row.caption!r}"
  elif line <= CHECK_AT_MOST and not (table.parent / row.file).is_file():
    fault = f"there is no file {row.file!r} beside the table"
  else:
    return row._replace(label=labels.of_text(row.label))
  raise _wrong(table, line, f"{fault}; correct it or take it out")


def _wrong(table: pathlib.Path, line: int, fault: str) -> ConfigError:
  return ConfigError(f"data.dir: line {line} of {str(table)!r} is wrong: {fault}")


def _lines(table: pathlib.Path) -> Iterator[tuple[int, dict]]:
  """Yields a table's lines: number -> its fields; none where it cannot be read."""
  with table.open(encoding=places.encoding(table), newline="") as f:
    if table.suffix.lower() != ".jsonl":
      yield from _cells(table, f)
      return
    for number, line in enumerate(f, 1):
      fields = None
      with contextlib.suppress(json.JSONDecodeError):
        fields = json.loads(line)
      if line.strip():
        yield number, fields if isinstance(fields, dict) else {}


def _cells(table: pathlib.Path, f: TextIO) -> Iterator[tuple[int, dict]]:
  """Yields the rows of a CSV: number of a row's first line -> its cells by column."""
  comma = max(PARTING, key=f.readline().count)
  f.seek(0)
  reader, names, first = csv.reader(f, delimiter=comma, strict=True), [], 1
  try:
    for cells in reader:
      if names and len(cells) > len(names):
        counts = f"{len(cells)} cells under {len(names)} columns"
        way = f"quote what holds a {PARTING[comma]}"
        raise _wrong(table, first, f"it has {counts}; {way}")
      if names and cells:
        yield first, dict(itertools.zip_longest(names, cells))
      names = names or [name.strip().lower() for name in cells]
      first = reader.line_num + 1
  except csv.Error as error:
    way = "close the quotes that open there, and double those inside"
    raise _wrong(table, first, f"{error}; {way}") from error


def _text(value: Any) -> Any:
  """Turns a class that is a number into text, as all else is; None and NaN: none."""
  if value is None or value != value:
    return ""
  is_integer = isinstance(value, int) and not isinstance(value, bool)
  return str(value) if is_integer else value


def _table(
  root: pathlib.Path, field: str, chosen: str, groups: places.Groups
) -> pathlib.Path | None:
  """Finds the table that is, or lies in the folder that is, the split `field`."""
  if chosen:
    table = _table_of(root / chosen)
    if not table:
      raise ConfigError(
        f"data.{field}={chosen!r} is neither a table in {str(root)!r} nor a folder "
        f"with {' or '.join(TABLES)}"
      )
    return table
  tables = {place: table for place in root.iterdir() if (table := _table_of(place))}
  return tables.get(places.pick(tables, groups, field))


def _table_of(place: pathlib.Path) -> pathlib.Path | None:
  """Finds the table in a folder, or a table itself; its name is of any case."""
  if place.is_file():
    return place if place.suffix.lower() in ENDINGS else None
  files = {f.name.lower(): f for f in place.iterdir()} if place.is_dir() else {}
  return next((files[name] for name in TABLES if name in files), None)


def _check_templates(templates: Sequence[str], source: Source) -> None:
  if not source.num_classes or hasattr(source, "captions"):
    raise ConfigError(
      f"data.captions={templates} are for labelled data without captions, and "
      f"{source.name!r} is not that; set data.captions to ()"
    )
  for template in templates:
    if isinstance(templates, str) or template.count("{}") != 1:
      raise ConfigError(
        f"data.captions={templates!r} must be a tuple of sentences that say {{}} once, "
        "where the class's name goes; try ('a photo of a {}.',)"
      )
