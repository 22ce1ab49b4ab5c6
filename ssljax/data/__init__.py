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
  digits,
  folder,
  subset,
  text,
  tfds,
  tones,
)
from ssljax.data.captions import prompts
from ssljax.data.codec import DataGoneError, Spec
from ssljax.data.decode import Pictures
from ssljax.data.identity import Identity, differences, digest, identify, lasting
from ssljax.data.loader import Loader, eval_batches, make_loader, prefetch
from ssljax.data.reader import zeros
from ssljax.data.source import Source, Splits, spec
from ssljax.data.tokenizer import Tokenizer
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
  "build",
  "differences",
  "digest",
  "eval_batches",
  "identify",
  "lasting",
  "make_loader",
  "prefetch",
  "prompts",
  "spec",
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


def declare(data) -> fields.Group:
  """Lists the fields of the group `data` of a config."""
  source = SOURCES.get(data.name) or functools.partial(tfds.splits, data.name)
  declared = fields.declared(Reading, source, captions.add, subset.take)
  return fields.Group("data", f"data.name={data.name!r}", declared, blank=(None, ""))


def build(data, run: pathlib.Path | None = None) -> Splits:
  """Opens the sources that the config group `data` names.

  `name`: one in SOURCES, or a data set of the TFDS catalogue. The fields of a source
  are the keywords of its function and, where there is text, those of `captions.add`;
  all have those of `subset.take`. None and "" stand for the default of each. `run` is
  the folder of a run that goes on or is judged: what `Source.save` left there is taken
  up. Raises ValueError in one sentence.
  """
  group = declare(data)
  fields.check(group, data)
  values = fields.given(group, data)
  source = SOURCES.get(data.name) or functools.partial(tfds.splits, data.name)
  source_fields, caption_fields = fields.keywords(source), fields.keywords(captions.add)
  subset_fields = fields.keywords(subset.take)
  try:
    sources = source(**{k: v for k, v in values.items() if k in source_fields})
  except OSError as error:  # a disk that fails, a folder that nobody may list
    raise ConfigError(
      f"data.dir={values.get('dir', '')!r} cannot be read: {error.strerror or error}: "
      f"{str(error.filename)!r}"
    ) from error
  _measure(sources)
  if values.get("captions") or hasattr(sources.train, "captions"):
    words = {k: v for k, v in values.items() if k in caption_fields}
    sources = captions.add(sources, run, **words)
  return subset.take(sources, **{k: v for k, v in values.items() if k in subset_fields})


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
