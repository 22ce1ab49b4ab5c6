"""Host side: where examples come from, and batches of them. Knows no JAX."""

import dataclasses
import functools
import pathlib
from typing import Annotated

import numpy as np

from ssljax import fields
from ssljax.data import (
  arrays,
  audio,
  captions,
  deep,
  dense,
  digits,
  folder,
  prepared,
  subset,
  text,
  tfds,
  tones,
)
from ssljax.data.captions import prompts
from ssljax.data.codec import DataGoneError, Spec
from ssljax.data.decode import Pictures
from ssljax.data.identity import (
  Identity,
  alike,
  differences,
  digest,
  identify,
  lasting,
)
from ssljax.data.loader import Loader, eval_batches, make_loader, prefetch
from ssljax.data.reader import zeros
from ssljax.data.source import Source, Splits, spec
from ssljax.data.tokenizer import Tokenizer
from ssljax.data.tokenizer import find as find_tokenizer
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Number, OneOf

__all__ = [
  "DataGoneError",
  "Identity",
  "Loader",
  "Pictures",
  "Source",
  "Spec",
  "Splits",
  "Tokenizer",
  "alike",
  "build",
  "differences",
  "digest",
  "eval_batches",
  "find_tokenizer",
  "identify",
  "lasting",
  "make_loader",
  "prefetch",
  "prompts",
  "spec",
  "with_truth",
  "zeros",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """The fields of `data` that every source has."""

  name: str  # one in SOURCES, or a data set of the TFDS catalogue
  size: Count  # pixels of the square canvas that the host hands over
  in_memory: bool = False
  # Whether the training set in memory lies on the devices; "auto": fits an accelerator
  on_device: Annotated[str, OneOf(("auto", "yes", "no"))] = "auto"
  workers: Number = 0  # threads that decode; 0: as many as cores


SOURCES = {  # other names are TFDS's
  "digits": digits.splits,
  "tones": tones.splits,
  "folder": folder.splits,
  "audio": audio.splits,
  "arrays": arrays.splits,
  "captions": captions.splits,
  "text": text.splits,
  "descriptions": text.descriptions,
}


def declare(data, plain: bool = False) -> fields.Group:
  """Lists the fields of the group `data` of a config; `plain`: of `as_they_are`."""
  more = () if plain else (captions.add, subset.take, prepared.add)
  declared = fields.declared(Reading, _source(data), *more)
  return fields.Group("data", f"data.name={data.name!r}", declared, blank=(None, ""))


def build(data, run: pathlib.Path | None = None) -> Splits:
  """Opens the sources that the config group `data` names.

  `name`: one in SOURCES, or a data set of the TFDS catalogue. The fields of a source
  are the keywords of its function and, where there is text, those of `captions.add`;
  all have those of `prepared.add` and `subset.take`. None and "" stand for the default
  of each. `run` is the folder of a run that goes on or is judged: what `Source.save`
  left there is taken up. Raises ValueError in one sentence.
  """
  group = declare(data)
  fields.check(group, data)
  values = fields.given(group, data)
  sources = as_they_are(data)
  sources = prepared.add(sources, data.size, **_of(prepared.add, values))
  if values.get("captions") or hasattr(sources.train, "captions"):
    sources = captions.add(sources, run, **_of(captions.add, values))
  return subset.take(sources, **_of(subset.take, values))


def as_they_are(data) -> Splits:
  """Opens the sources that `data` names: whole, without captions, to be decoded.

  Raises ValueError in one sentence.
  """
  values, source = fields.given(declare(data, plain=True), data), _source(data)
  try:
    sources = source(**_of(source, values))
  except OSError as error:  # a disk that fails, a folder that nobody may list
    raise ConfigError(
      f"data.dir={values.get('dir', '')!r} cannot be read: {error.strerror or error}: "
      f"{str(error.filename)!r}"
    ) from error
  _measure(sources)
  return sources


def with_truth(data, kind: dense.Kind) -> Splits:
  """Opens the pictures that `data` names with a truth of this kind for each pixel.

  `name` is "folder", whose `dir` has images/ and, of the same names, truths, or a data
  set of the TFDS catalogue with such a feature. Raises ValueError in one sentence.
  """
  places = {k: data.get(k) or "" for k in ("dir", "train_split", "eval_split")}
  if data.name == "folder":
    sources = dense.in_folder(kind, *places.values())
  elif data.name in SOURCES:
    raise ConfigError(
      f"data.name={data.name!r} has no {kind.noun} of a picture; name 'folder', whose "
      f"data.dir has images/ and {kind.folder}/, or a data set of TFDS that has them"
    )
  else:
    sources = dense.in_tfds(kind, data.name, *places.values())
  _measure(sources)
  return sources


def _source(data):
  """Returns the function that opens what `data` names."""
  return SOURCES.get(data.name) or functools.partial(tfds.splits, data.name)


def _of(function, values):
  """Picks the values that are a function's keywords."""
  keywords = fields.keywords(function)
  return {k: v for k, v in values.items() if k in keywords}


def _measure(sources: Splits) -> None:
  """Measures what is black and white above 8 bits, alike in both splits."""
  train = sources.train
  if not any(isinstance(codec, Pictures) for codec in train.codecs(1)):
    return
  numbers = np.unique(np.linspace(0, len(train) - 1, deep.SAMPLED).astype(int))
  examples = [functools.partial(train.__getitem__, int(i)) for i in numbers]
  ranges = deep.measure(train.name, examples)
  for source in sources:
    if source is not None:
      source.depths = ranges
