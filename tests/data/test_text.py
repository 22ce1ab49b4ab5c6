import numpy as np
import pytest
from pictures import config

from ssljax import data
from ssljax.data import text

DOCUMENT = """A first sentence. A second
one!  Is this the third?

=====  1.5  2.5

The last, without an end"""


def test_sentences_end_with_their_marks_or_their_paragraph():
  assert text.cut(DOCUMENT, 2) == [
    ("A first sentence.", "A second one!"),
    ("Is this the third?", "The last, without an end"),
  ]
  assert text.cut(DOCUMENT, 3) == [
    ("A first sentence.", "A second one!", "Is this the third?")
  ]


def batch_of(source):
  (batch,) = data.eval_batches(source, len(source), size=1, in_memory=False, workers=1)
  return batch


def test_a_folder_of_documents_gives_passages_of_token_ids(tmp_path):
  for name in ("cats", "dogs"):
    (tmp_path / name).mkdir()
    for i in range(3):
      lines = [f"Sentence {k} about {name} number {i}." for k in range(5)]
      (tmp_path / name / f"{i}.txt").write_text(" ".join(lines))
  fields = dict(name="text", dir=str(tmp_path), sentences=2, vocabulary=300, context=24)
  train, held_out = data.build(config(**fields))
  assert train.class_names == ("cats", "dogs")
  assert (len(train), len(held_out)) == (2 * 2 * 2, 2 * 2)
  batch = batch_of(train)
  assert (batch["text"].shape, batch["text"].dtype) == ((8, 2, 24), np.int32)
  assert batch.keys() == {"text", "label", "index", "mask"}
  assert (batch["text"][..., 0] == 1).all()  # every sentence has a start
  assert ((batch["text"] == 2).sum(2) == 1).all()  # and an end


def test_the_descriptions_that_ship_with_scikit_learn_are_split_and_labelled():
  fields = dict(name="descriptions", vocabulary=512, context=32)
  train, held_out = data.build(config(**fields))
  assert len(train) > 50
  assert len(held_out) > 10
  assert "iris" in train.class_names
  assert not {*train.source.passages} & {*held_out.source.passages}


@pytest.mark.parametrize(
  ("sentences", "sentence"),
  [(1, "sentences=1 must be 2 or more"), (9, "sentences=9: no document in .* try 2")],
)
def test_a_number_of_sentences_that_gives_nothing_is_named(
  tmp_path, sentences, sentence
):
  (tmp_path / "a.txt").write_text("One. Two of them.")
  with pytest.raises(ValueError, match=sentence):
    data.build(config(name="text", dir=str(tmp_path), sentences=sentences))


def test_documents_in_other_encodings_are_read_or_said(tmp_path, caplog):
  text = "Ein Müller mahlt. Ein Bäcker backt. "
  for name, encoding in (("a", "utf-8-sig"), ("b", "utf-16"), ("c", "latin-1")):
    (tmp_path / f"{name}.TXT").write_text(text, encoding=encoding)
  fields = dict(name="text", dir=str(tmp_path), sentences=2, vocabulary=300, context=24)
  train = data.build(config(**fields)).train
  first, second, third = train.source.passages
  assert first == second == ("Ein Müller mahlt.", "Ein Bäcker backt.")
  assert third[0] == "Ein M\N{REPLACEMENT CHARACTER}ller mahlt."
  assert "no UTF-8, in 1 documents: 'c.TXT'" in caplog.text
