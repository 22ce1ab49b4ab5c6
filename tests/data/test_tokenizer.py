import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ssljax.data.tokenizer import LEAST, Tokenizer

TEXTS = ("a photo of a cat", "A photo of a dog.", "Ein Bär, größer als ein 🐻 – ok?")
PADDING, START, END = 0, 1, 2


@pytest.fixture(scope="module")
def tokenizer():
  return Tokenizer.train(TEXTS, vocabulary=300, context=12)


def said(tokenizer, row):
  return tokenizer.rules.decode(row.tolist())


def test_a_text_is_start_tokens_end_and_zeros(tokenizer):
  rows = tokenizer.encode(["a photo of a cat", ""])
  assert (rows.shape, rows.dtype) == ((2, 12), np.int32)
  assert_array_equal(rows[1], [START, END] + 10 * [PADDING])
  end = list(rows[0]).index(END)
  assert rows[0, 0] == START
  assert (rows[0, 1:end] > END).all()
  assert (rows[0, end + 1 :] == PADDING).all()


def test_what_is_said_comes_back_lower_cased_whatever_its_script(tokenizer):
  longer = Tokenizer.train(TEXTS, vocabulary=300, context=99)
  for text in (*TEXTS, "unseen: 漢字 \n\t ©"):
    assert said(longer, longer.encode([text])[0]) == text.lower()


def test_a_text_that_is_too_long_loses_its_tail_and_keeps_its_end(tokenizer):
  (row,) = tokenizer.encode(["cat " * 50])
  assert (row[0], row[-1]) == (START, END)
  assert (row[1:-1] > END).all()
  assert ("cat " * 50).startswith(said(tokenizer, row))


def test_special_tokens_cannot_be_said(tokenizer):
  (row,) = tokenizer.encode(["<end> <start>"])
  assert list(row).count(END) == list(row).count(START) == 1


def test_frequent_words_become_one_token(tokenizer):
  photo, rare = tokenizer.encode(["a photo", "a tophi"])
  assert (photo > 0).sum() < (rare > 0).sum()


def test_the_same_texts_give_the_same_ids_and_the_file_gives_them_back(tmp_path):
  one, other = (Tokenizer.train(TEXTS, 290, 9) for _ in range(2))
  one.save(tmp_path)
  loaded = Tokenizer.load(tmp_path)
  assert one.rules.to_str() == other.rules.to_str() == loaded.rules.to_str()
  assert loaded.context == 9
  for each in (other, loaded):
    assert_array_equal(
      each.encode(["a <end> cat", *TEXTS]), one.encode(["a <end> cat", *TEXTS])
    )
  assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_ids_stay_below_the_vocabulary(tokenizer):
  assert tokenizer.encode(TEXTS).max() < 300
  bytes_alone = Tokenizer.train(TEXTS, LEAST, 99)
  (row,) = bytes_alone.encode(["kät"])
  assert (row > END).sum() == len("kät".encode())


def test_numbers_that_cannot_be_are_named_and_so_is_a_missing_file(tmp_path):
  with pytest.raises(ValueError, match=r"data\.vocabulary=100 must be at least 259"):
    Tokenizer.train(TEXTS, 100, 9)
  with pytest.raises(ValueError, match=r"data\.context=2 must hold"):
    Tokenizer.train(TEXTS, 300, 2)
  with pytest.raises(ValueError, match=r"holds no tokenizer\.json"):
    Tokenizer.load(tmp_path)


def test_without_the_library_one_sentence_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "tokenizers", None)
  with pytest.raises(ValueError, match=r"pip install 'ssljax\[text\]'"):
    Tokenizer.train(TEXTS, 300, 9)
