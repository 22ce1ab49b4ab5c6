import numpy as np
import pytest

from ssljax.data import digits, eval_batches, subset
from ssljax.data.codec import UnreadableError
from ssljax.data.source import Source, Splits


def numbers(source):
  return set(source.numbers)


def test_what_is_held_out_is_not_trained_on_and_the_test_is_not_touched():
  splits = digits.splits()
  part = subset.take(splits, held_out=0.25)
  n = len(splits.train)
  assert len(part.eval) == round(0.25 * n)
  assert numbers(part.train) | numbers(part.eval) == set(range(n))
  assert not numbers(part.train) & numbers(part.eval)
  assert part.eval.source is part.train.source is splits.train


def test_every_run_meets_the_same_examples():
  first, second = (subset.take(digits.splits(), held_out=0.1) for _ in range(2))
  assert first.eval.numbers == second.eval.numbers


def test_so_many_of_each_class_and_none_that_is_held_out():
  part = subset.take(digits.splits(), held_out=0.5, per_class=7)
  labels = [example["label"] for example in part.train]
  np.testing.assert_array_equal(np.bincount(labels), np.full(10, 7))
  assert not numbers(part.train) & numbers(part.eval)
  assert subset.take(digits.splits(), per_class=3).eval is not part.eval


def test_its_batches_are_those_of_the_whole():
  whole = digits.splits().train
  part = subset.take(digits.splits(), per_class=2).train
  options = dict(size=16, in_memory=False, workers=1)
  (batch,) = eval_batches(part, 20, **options)
  expected = next(eval_batches(whole, len(whole), **options))
  np.testing.assert_array_equal(batch["image"], expected["image"][part.numbers])
  np.testing.assert_array_equal(batch["label"], expected["label"][part.numbers])
  assert part.class_names == whole.class_names


def test_nothing_is_done_unless_asked_for():
  splits = digits.splits()
  assert subset.take(splits) == splits


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    (dict(held_out=1.0), "data.held_out=1.0 must be at least 0 and less than 1"),
    (dict(held_out=0.9999), r"data.held_out=0.9999 leaves none of the .* to train on"),
    (dict(per_class=-1), "data.per_class=-1 must be at least 0"),
    (dict(per_class=900), "data.per_class=900 is more than the .* examples of '0'"),
  ],
)
def test_what_cannot_be_is_named(fields, sentence):
  with pytest.raises(ValueError, match=sentence):
    subset.take(digits.splits(), **fields)


class Damaged(Source):
  """Examples 0 to 9, labelled i % 2; every third of them cannot be read."""

  name, class_names, opened = "damaged", ("even", "odd"), 0

  def __len__(self):
    return 10

  def __getitem__(self, index):
    self.opened += 1
    if index % 3 == 0:
      raise UnreadableError("cut")
    return {"label": index % 2}


def test_examples_are_opened_for_their_labels_only_where_nobody_knows_them():
  source = Damaged()
  part = subset.take(Splits(source, None), per_class=3).train
  assert numbers(part) == {1, 2, 4, 5, 7, 8}  # those that can be read
  with pytest.raises(ValueError, match="more than the 3 examples of 'even'"):
    subset.take(Splits(source, None), per_class=4)
  source.opened, source.labels = 0, np.arange(10) % 2
  part = subset.take(Splits(source, None), per_class=5).train
  assert (numbers(part), source.opened) == (set(range(10)), 0)


def test_one_example_is_not_held_out_of_itself():
  one = Splits(subset.Subset(digits.splits().train, [0]), None)
  with pytest.raises(ValueError, match="leaves none of the 1 examples to train on"):
    subset.take(one, held_out=0.1)


def test_unlabelled_examples_have_no_classes_to_draw_from():
  train, test = digits.splits()
  train.class_names = ()
  with pytest.raises(ValueError, match=r"needs labels, and .* has none"):
    subset.take(Splits(train, test), per_class=1)
