"""CLIP's tokenizer, out of its merges: the ids that its paper's algorithm gives."""

import gzip
import itertools
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ssljax.data.tokenizer import Tokenizer
from ssljax.fields import ConfigError

pytest.importorskip("tokenizers", reason="needs the extra text: tokenizers")
MERGES = [
  "t h",
  "th e</w>",
  "c a",
  "ca t</w>",
  "a t</w>",
  "p h",
  "o t",
  "ph ot",
  "! !</w>",
]
VOCABULARY = 2 * 256 + len(MERGES) + 2
START, END = VOCABULARY - 2, VOCABULARY - 1
TEXTS = (
  "The cat sat at the photo!!",
  "it's 42   cats\n\tüber é 漢 🐻",
  "! THE-cat's <|endoftext|>",
  "",
)


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
  lines = ["#version: 0.2", *MERGES, "of no", "use here"]  # more than are asked for
  path.write_bytes(gzip.compress("\n".join(lines).encode()))
  return path


def letters():
  """Bytes as letters: those that print stand for themselves, the rest follow 255."""
  printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
  other = [b for b in range(256) if b not in printed]
  names = {b: chr(b) for b in printed} | {b: chr(256 + i) for i, b in enumerate(other)}
  return names, [*printed, *other]


def by_hand(text):
  """Merges neighbours of a word, the most frequent pair first, till none is left."""
  names, order = letters()
  tokens = [names[b] for b in order]
  tokens += [f"{x}</w>" for x in tokens] + [m.replace(" ", "") for m in MERGES]
  ranks = {tuple(m.split()): i for i, m in enumerate(MERGES)}
  ids = []
  words = r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+"  # no _ in these texts
  for word in re.findall(words, text.lower()):
    parts = [names[b] for b in word.encode()]
    parts[-1] += "</w>"
    while pairs := [p for p in itertools.pairwise(parts) if p in ranks]:
      best, joined, i = min(pairs, key=ranks.get), [], 0
      while i < len(parts):
        whole = tuple(parts[i : i + 2]) == best
        joined.append("".join(parts[i : i + 1 + whole]))
        i += 1 + whole
      parts = joined
    ids += [tokens.index(p) for p in parts]
  return ids


def test_ids_are_those_of_the_merges_between_start_and_end(file):
  tokenizer = Tokenizer.open(file, VOCABULARY, 60)
  for text, row in zip(TEXTS, tokenizer.encode(TEXTS), strict=True):
    ids = [START, *by_hand(text), END]
    assert_array_equal(row, ids + [0] * (60 - len(ids)), err_msg=text)


def test_a_long_text_keeps_its_end_and_the_file_of_a_run_gives_the_same(file, tmp_path):
  tokenizer = Tokenizer.open(file.parent, VOCABULARY, 5)
  (row,) = tokenizer.encode(["the cat " * 9])
  assert row[-1] == END
  (tmp_path / "run").mkdir()
  tokenizer.save(tmp_path / "run")
  for again in (
    Tokenizer.load(tmp_path / "run"),
    Tokenizer.open(tmp_path / "run", VOCABULARY, 5),
  ):
    assert_array_equal(again.encode(TEXTS), tokenizer.encode(TEXTS))


def test_transformers_tokenizer_has_the_same_ids(file):
  transformers = pytest.importorskip("transformers", reason="needs transformers")
  names, order = letters()
  tokens = [names[b] for b in order]
  tokens += [f"{x}</w>" for x in tokens] + [m.replace(" ", "") for m in MERGES]
  tokens += ["<|startoftext|>", "<|endoftext|>"]
  theirs = transformers.CLIPTokenizer(
    vocab={t: i for i, t in enumerate(tokens)},
    merges=[tuple(m.split()) for m in MERGES],
  )
  texts = [t for t in TEXTS if "<|" not in t]  # which it takes for the end
  for text, row in zip(
    texts, Tokenizer.open(file, VOCABULARY, 60).encode(texts), strict=True
  ):
    ids = theirs(text)["input_ids"]
    assert_array_equal(row[: len(ids)], ids)
    assert not row[len(ids) :].any()


@pytest.mark.parametrize(
  ("change", "vocabulary", "sentence"),
  [
    (lambda f: f.write_bytes(f.read_bytes()[:40]), VOCABULARY, "is no tokenizer of"),
    (lambda f: f.write_bytes(b"hello"), VOCABULARY, "is no tokenizer of these texts"),
    (lambda f: None, 600, r"86 merges of two are asked for, and it has 11"),
    (lambda f: f.unlink(), VOCABULARY, "is no file and no folder with one of"),
  ],
)
def test_what_is_no_such_file_is_answered_in_a_sentence(
  file, change, vocabulary, sentence
):
  change(file)
  with pytest.raises(ConfigError, match=sentence) as raised:
    Tokenizer.open(file, vocabulary, 9)
  assert "\n" not in str(raised.value)


def test_a_tokenizer_of_more_ids_than_the_weights_have_is_refused(file, tmp_path):
  Tokenizer.open(file, VOCABULARY, 9).save(tmp_path)
  with pytest.raises(ConfigError, match=f"ids up to {END}, and 300 are known"):
    Tokenizer.open(tmp_path / "tokenizer.json", 300, 9)
  (tmp_path / "tokenizer.json").write_text("{}")
  with pytest.raises(ConfigError, match="is no tokenizer of these texts"):
    Tokenizer.open(tmp_path, 300, 9)


def test_rows_are_i32(file):
  assert Tokenizer.open(file, VOCABULARY, 9).encode(["a"]).dtype == np.int32
