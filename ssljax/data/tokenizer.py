"""Texts to token ids: a byte-level BPE that a run trains on its own captions."""

import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from ssljax.data.codec import Codec
from ssljax.fields import ConfigError

FILE = "tokenizer.json"  # in a run's folder
SPECIAL = ("<padding>", "<start>", "<end>")  # ids 0, 1, 2
LEAST = 256 + len(SPECIAL)  # every byte is a token, so nothing is unknown


class Tokenizer:
  """Turns texts into rows of `context` ids: start, text, end, zeros.

  A text that is too long loses its last tokens, never the end. Lower-cased as CLIP's
  (Radford et al. 2021); like that it merges bytes of a word by frequency (Sennrich et
  al. 2016). The file is one of Hugging Face's `tokenizers`.
  """

  def __init__(self, rules):
    rules.encode_special_tokens = True  # "<end>" in a caption is five characters
    self.rules = rules
    self.context = rules.truncation["max_length"]

  @classmethod
  def train(cls, texts: Iterable[str], vocabulary: int, context: int) -> "Tokenizer":
    """Trains at most `vocabulary` ids on `texts`; the same ones give the same ids."""
    if vocabulary < LEAST:
      raise ConfigError(
        f"data.vocabulary={vocabulary} must be at least {LEAST}: a token for every "
        "byte and three special ones; try 8192"
      )
    if context < 3:
      raise ConfigError(
        f"data.context={context} must hold a start, a token and an end; try 77"
      )
    hf = _tokenizers()
    rules = hf.Tokenizer(hf.models.BPE())
    rules.normalizer = hf.normalizers.Sequence(
      [hf.normalizers.NFC(), hf.normalizers.Lowercase()]
    )
    rules.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
      vocab_size=vocabulary,
      special_tokens=list(SPECIAL),
      initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    )
    rules.train_from_iterator(texts, trainer)
    padding, start, end = SPECIAL
    rules.post_processor = hf.processors.TemplateProcessing(
      single=f"{start} $A {end}", special_tokens=[(start, 1), (end, 2)]
    )
    rules.enable_truncation(context)
    rules.enable_padding(length=context, pad_token=padding)
    return cls(rules)

  @classmethod
  def load(cls, folder: str | os.PathLike) -> "Tokenizer":
    """Loads the tokenizer that `save` left in a run's folder."""
    path = pathlib.Path(folder) / FILE
    if not path.exists():
      raise ConfigError(
        f"{folder} holds no {FILE}, which a run that learns from text leaves there"
      )
    return cls(_tokenizers().Tokenizer.from_file(str(path)))

  def save(self, folder: str | os.PathLike) -> None:
    """Writes the whole file or, where the process dies meanwhile, none of it."""
    path = pathlib.Path(folder) / FILE
    temporary = path.with_name(FILE + ".tmp")
    temporary.write_text(self.rules.to_str(), encoding="utf-8")
    temporary.replace(path)

  def encode(self, texts: Sequence[str]) -> np.ndarray:
    """Encodes N texts -> i32 [N,T]."""
    rows = self.rules.encode_batch(list(texts))
    return np.array([row.ids for row in rows], np.int32).reshape(-1, self.context)


class Texts(Codec):
  """Encodes an example's "caption", a str or several, as "text", T ids each."""

  def __init__(self, tokenizer: Tokenizer, shape: tuple[int, ...] = ()):
    """`shape` is () for one str, (N,) for N of them."""
    self.tokenizer, self.shape = tokenizer, shape

  @property
  def spec(self):
    """Describes "text" i32 [T] or [N,T]; T is the tokenizer's context."""
    return {"text": ((*self.shape, self.tokenizer.context), "int32")}

  def decode(self, example):
    """Encodes an example's caption -> "text" i32 [T] or [N,T]."""
    caption = example["caption"]
    ids = self.tokenizer.encode(caption if self.shape else [caption])
    return {"text": ids if self.shape else ids[0]}


def _tokenizers():
  try:
    import tokenizers
  except ImportError as error:
    raise ConfigError(
      "texts are read with tokenizers: pip install 'ssljax[text]'"
    ) from error
  return tokenizers
