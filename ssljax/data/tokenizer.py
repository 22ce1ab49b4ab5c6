"""Texts to token ids: a byte-level BPE, trained on a run's captions or CLIP's own."""

import gzip
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from ssljax.data.codec import Codec
from ssljax.fields import ConfigError

FILE = "tokenizer.json"  # in a run's folder
FILES = (FILE, "merges.txt", "bpe_simple_vocab_16e6.txt.gz")  # first to last, in others
SPECIAL = ("<padding>", "<start>", "<end>")  # ids 0, 1, 2
LEAST = 256 + len(SPECIAL)  # every byte is a token, so nothing is unknown
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")  # its last ids
CLIP_BYTES = 2 * 256  # every byte is a token, and another where it ends a word
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


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
  def open(
    cls, place: pathlib.Path, vocabulary: int, context: int, padding: str = ""
  ) -> "Tokenizer":
    """Opens the tokenizer of `vocabulary` ids that a file holds, or a folder.

    A tokenizer.json, or CLIP's merges (`bpe_simple_vocab_16e6.txt.gz`, Hugging Face's
    `merges.txt`). Texts are filled up to `context` ids with the token `padding`; "":
    with zeros, which CLIP's code does too. ConfigError, in a sentence, for what is no
    such file or has ids that the vocabulary has not.
    """
    path = find(place)
    if path is None:
      raise ConfigError(
        f"data.tokenizer={str(place)!r} is no file and no folder with one of "
        f"{', '.join(FILES)}"
      )
    try:
      rules = _of_json(path) if path.suffix == ".json" else _of_merges(path, vocabulary)
      ids = rules.get_vocab()
      if max(ids.values()) >= vocabulary:
        raise ValueError(f"ids up to {max(ids.values())}, and {vocabulary} are known")
      number = ids[padding] if padding else 0
    except ConfigError:
      raise
    except Exception as error:  # tokenizers raises Exception itself
      raise ConfigError(
        f"data.tokenizer: {str(path)!r} is no tokenizer of these texts "
        f"({type(error).__name__}: {error}); take the one that came with the weights"
      ) from error
    rules.enable_truncation(context)
    token = padding or rules.id_to_token(0)
    rules.enable_padding(length=context, pad_id=number, pad_token=token)
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


def find(place: pathlib.Path) -> pathlib.Path | None:
  """Finds the file of a tokenizer: `place` itself, or in it; None: there is none."""
  if place.is_file():
    return place
  return next((place / name for name in FILES if (place / name).is_file()), None)


def _of_json(path: pathlib.Path):
  return _tokenizers().Tokenizer.from_str(path.read_text("utf-8"))


def _of_merges(path: pathlib.Path, vocabulary: int):
  """Builds CLIP's tokenizer from its merges, the most frequent first.

  Of as many as make up the vocabulary: all bytes, all that end a word, merges, start
  and end of a text. CLIP's code mends broken letters (ftfy) and `&amp;` before; here
  nothing does.
  """
  hf, count = _tokenizers(), vocabulary - CLIP_BYTES - len(CLIP_SPECIAL)
  with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as f:
    lines = f.read().split("\n")[1:]  # the first says of which version it is
  merges = [tuple(line.split()) for line in lines[: max(count, 0)]]
  if len(merges) != count or any(len(pair) != 2 for pair in merges):
    raise ValueError(f"{count} merges of two are asked for, and it has {len(lines)}")
  alphabet = sorted(hf.pre_tokenizers.ByteLevel.alphabet())
  ended = [f"{x}</w>" for x in alphabet]
  tokens = [*alphabet, *ended, *map("".join, merges), *CLIP_SPECIAL]
  ids = {token: i for i, token in enumerate(tokens)}
  rules = hf.Tokenizer(
    hf.models.BPE(vocab=ids, merges=merges, end_of_word_suffix="</w>")
  )
  rules.normalizer = hf.normalizers.Sequence(
    [hf.normalizers.NFC(), hf.normalizers.Lowercase()]
  )
  words = hf.pre_tokenizers.Split(hf.Regex(CLIP_WORDS), "removed", invert=True)
  rules.pre_tokenizer = hf.pre_tokenizers.Sequence(
    [words, hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
  )
  rules.decoder = hf.decoders.BPEDecoder(suffix="</w>")
  start, end = CLIP_SPECIAL
  rules.post_processor = hf.processors.TemplateProcessing(
    single=f"{start} $A {end}",
    special_tokens=[(start, ids[start]), (end, ids[end])],
  )
  return rules


def _tokenizers():
  try:
    import tokenizers
  except ImportError as error:
    raise ConfigError(
      "texts are read with tokenizers: pip install 'ssljax[text]'"
    ) from error
  return tokenizers
