import numpy as np
import pytest

from ssljax.data import digits, eval_batches, subset
from ssljax.data.source import Splits


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
    (dict(per_class=-1), "data.per_class=-1 must be at least 0"),
    (dict(per_class=900), "data.per_class=900 is more than the .* examples of '0'"),
  ],
)
def test_what_cannot_be_is_named(fields, sentence):
  with pytest.raises(ValueError, match=sentence):
    subset.take(digits.splits(), **fields)


def test_unlabelled_examples_have_no_classes_to_draw_from():
  train, test = digits.splits()
  train.class_names = ()
  with pytest.raises(ValueError, match=r"needs labels, and .* has none"):
    subset.take(Splits(train, test), per_class=1)
