"""Host side: where examples come from, and batches of them. Knows no JAX."""

import functools
import pathlib

from ssljax import fields
from ssljax.data import (
  arrays,
  audio,
  captions,
  digits,
  folder,
  subset,
  text,
  tfds,
  tones,
)
from ssljax.data.captions import prompts
from ssljax.data.codec import Spec
from ssljax.data.decode import Pictures
from ssljax.data.identity import Identity, differences, digest, identify, lasting
from ssljax.data.loader import Loader, eval_batches, make_loader, prefetch
from ssljax.data.reader import zeros
from ssljax.data.source import Source, Splits, spec
from ssljax.data.tokenizer import Tokenizer

__all__ = [
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


READING = ("size", "in_memory", "workers")  # fields of `data` that every source has
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


def build(data, run: pathlib.Path | None = None) -> Splits:
  """The sources that the config group `data` names.

  `name`: one in SOURCES, or a data set of the TFDS catalogue. The fields of a source
  are the keywords of its function and, where there is text, those of `captions.add`;
  all have those of `subset.take`. None and "" stand for the default of each. `run` is
  the folder of a run that goes on or is judged: what `Source.save` left there is taken
  up. Raises ValueError in one sentence.
  """
  name = data.name
  source = SOURCES.get(name) or functools.partial(tfds.splits, name)
  own, spoken = fields.keywords(source), fields.keywords(captions.add)
  given = {k: v for k, v in data.items() if v not in (None, "")}
  partial = fields.keywords(subset.take)
  known = "name", *READING, *own, *spoken, *partial
  fields.check_names(f"data.name={name!r}", given, known)
  sources = source(**{k: v for k, v in given.items() if k in own})
  if given.get("captions") or hasattr(sources.train, "captions"):
    words = {k: v for k, v in given.items() if k in spoken}
    sources = captions.add(sources, run, **words)
  return subset.take(sources, **{k: v for k, v in given.items() if k in partial})
