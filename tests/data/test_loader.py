import itertools
import threading

import numpy as np
import pytest
from pictures import encode, smooth

from ssljax import data
from ssljax.data import loader, reader
from ssljax.data.source import Source

B, N = 8, 30


class Waves(Source):
  """Pictures of all shapes; some numbers are broken."""

  name, class_names = "waves", ("even", "odd")

  def __init__(self, broken=(), n=N):
    self.broken, self.n = broken, n
    self.asked = []

  def __len__(self):
    return self.n

  def __getitem__(self, index):
    self.asked.append(index)
    image = b"broken" if index in self.broken else encode(smooth(5 + index, 9, index))
    return {"image": image, "label": index % 2}


def make(source, in_memory=False, seed=3, **kwargs):
  kwargs = {"size": 6, "workers": 2, "in_memory": in_memory} | kwargs
  return data.make_loader(source, B, seed, **kwargs)


def first(iterator, n):
  batches = list(itertools.islice(iterator, n))
  iterator.close()
  return batches


def assert_same(some, others):
  for one, other in zip(some, others, strict=True):
    assert one.keys() == other.keys()
    for key in one:
      assert one[key].dtype == other[key].dtype
      np.testing.assert_array_equal(one[key], other[key])


both = pytest.mark.parametrize("in_memory", [True, False])


@both
def test_a_batch_is_what_the_docstring_says(in_memory):
  (batch,) = first(make(Waves(), in_memory).iterate(), 1)
  shapes = {k: (v.shape, v.dtype.name) for k, v in batch.items()}
  assert shapes == {
    "image": ((B, 6, 6, 3), "uint8"),
    "extent": ((B, 2), "int32"),
    "aspect": ((B,), "float32"),
    "label": ((B,), "int32"),
    "index": ((B,), "int32"),
  }
  np.testing.assert_array_equal(batch["label"], batch["index"] % 2)
  np.testing.assert_allclose(batch["aspect"], (5 + batch["index"]) / 9, rtol=1e-6)


def test_memory_and_stream_give_the_same_batches_bit_for_bit():
  source = Waves(broken=(4, 5, 29))
  assert_same(
    first(make(source, True).iterate(2), 6), first(make(source, False).iterate(2), 6)
  )


def test_the_order_is_a_new_permutation_every_epoch_and_never_changes():
  orders = [loader.epoch_order(0, epoch, 5).tolist() for epoch in range(3)]
  assert orders == [[3, 2, 1, 0, 4], [4, 1, 2, 0, 3], [0, 4, 3, 1, 2]]
  many = loader.epoch_order(1, 0, 10_000)
  np.testing.assert_array_equal(np.sort(many), np.arange(10_000))
  assert abs(np.corrcoef(many, np.arange(10_000))[0, 1]) < 0.03


def test_an_epoch_shows_every_example_at_most_once_and_drops_the_rest():
  made = make(Waves())
  assert (made.num_examples, made.steps_per_epoch) == (N, 3)
  seen = [b["index"] for b in first(made.iterate(), 6)]
  for epoch in (0, 1):
    indices = np.concatenate(seen[3 * epoch : 3 * epoch + 3])
    np.testing.assert_array_equal(indices, loader.epoch_order(3, epoch, N)[:24])


@both
@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_a_resumed_run_goes_on_where_the_unbroken_one_is(in_memory, step):
  source = Waves()
  whole = first(make(source, in_memory).iterate(), step + 3)
  assert_same(first(make(source, in_memory).iterate(step), 3), whole[step:])


def test_resuming_decodes_nothing_that_was_skipped():
  source = Waves()
  made = make(source)
  order = loader.epoch_order(3, 1, N)
  first(made.iterate(5), 1)
  assert set(source.asked) <= set(order[16:24]) | set(loader.epoch_order(3, 2, N))


@both
@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_all_processes_are_the_batch_of_one(in_memory, processes):
  source = Waves()
  shares = [
    first(
      make(source, in_memory, process_index=p, process_count=processes).iterate(1), 4
    )
    for p in range(processes)
  ]
  union = [
    {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    for parts in zip(*shares, strict=True)
  ]
  assert_same(union, first(make(source, in_memory).iterate(1), 4))


@both
def test_an_unreadable_picture_is_replaced_by_the_next_and_reported(in_memory):
  made = make(Waves(broken=(4, 5, 29)), in_memory)
  seen = np.concatenate([b["index"] for b in first(made.iterate(), 12)])
  order = np.concatenate([loader.epoch_order(3, e, N)[:24] for e in range(4)])
  expected = np.select([order == 4, order == 5, order == 29], [6, 6, 0], order)
  np.testing.assert_array_equal(seen, expected)
  assert sorted(made.unreadable) == [4, 5, 29]
  assert "UnidentifiedImageError" in made.unreadable[4]


def test_the_first_unreadable_ones_are_named_and_the_others_counted(caplog):
  made = make(Waves(broken=range(N - 1)), True)
  assert caplog.text.count("Example") == 10
  count, *lines = made.complaint().split("\n")
  assert count.endswith("each replaced by the next: 29")
  assert (len(lines), lines[-1].strip()) == (11, "and 19 more")
  assert make(Waves()).complaint() == ""


@both
def test_a_source_without_a_readable_picture_is_an_error(in_memory):
  with pytest.raises(ValueError, match=r"100 examples in a row of 'waves' .*check"):
    first(make(Waves(broken=range(N)), in_memory).iterate(), 1)


@both
@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_sees_every_readable_example_once_in_order(in_memory, processes):
  shares = [
    list(
      data.eval_batches(
        Waves(broken=(4,)),
        B,
        size=6,
        in_memory=in_memory,
        workers=2,
        process_index=p,
        process_count=processes,
      )
    )
    for p in range(processes)
  ]
  assert [len(batches) for batches in shares] == [4] * processes
  seen = [
    part["index"][part["mask"]] for parts in zip(*shares, strict=True) for part in parts
  ]
  assert all(len(b["index"]) == B // processes for b in shares[0])
  np.testing.assert_array_equal(np.concatenate(seen), [i for i in range(N) if i != 4])


def test_what_is_in_memory_is_decoded_once_for_training_and_evaluation():
  source = Waves()
  first(make(source, True).iterate(), 1)
  list(data.eval_batches(source, B, size=6, in_memory=True, workers=2))
  assert len(source.asked) == N


def test_the_position_is_checked_before_a_run_goes_on():
  made = make(Waves())
  assert made.state(5) == {"next_index": 40, "num_examples": N, "seed": 3}
  made.check(made.state(5), 5)
  with pytest.raises(ValueError, match="written at seed=4, this run's data gives 3"):
    made.check(make(Waves(), seed=4).state(5), 5)
  with pytest.raises(ValueError, match="next_index=40"):
    made.check(made.state(5), 6)


ERRORS = [
  ({"batch_size": 31}, "batch_size=31 is more than the 30 training .*; try 30"),
  ({"batch_size": 0}, "batch_size=0 must be a positive"),
  ({"batch_size": 9, "process_count": 2}, "batch_size=9 must be .* 2 processes; try 8"),
  ({"size": 0}, "data.size=0 must be at least 1"),
  ({"workers": -1}, "data.workers=-1 must be 0"),
  ({"size": 10**6, "in_memory": True}, "data.in_memory=True needs .* GiB .*=False"),
]


@pytest.mark.parametrize(("fields", "sentence"), ERRORS)
def test_a_mistake_is_named_before_anything_is_read(fields, sentence):
  source = Waves()
  fields = {
    "batch_size": B,
    "seed": 0,
    "size": 6,
    "in_memory": False,
    "workers": 1,
  } | fields
  with pytest.raises(ValueError, match=sentence):
    data.make_loader(source, **fields)
  assert not source.asked


def test_prefetch_changes_nothing_and_stops_its_thread():
  before = threading.active_count()
  assert list(data.prefetch(iter(range(100)), 3)) == list(range(100))
  closed = threading.Event()

  def endless():
    try:
      yield from itertools.count()
    finally:
      closed.set()

  items = data.prefetch(endless(), 2)
  assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
  items.close()
  assert closed.is_set()
  assert threading.active_count() <= before


def test_prefetch_raises_where_the_iterator_raised():
  def breaks():
    yield 1
    raise OSError("disk")

  items = data.prefetch(breaks(), 2)
  assert next(items) == 1
  with pytest.raises(OSError, match="disk"):
    next(items)


def test_what_is_in_memory_goes_with_its_source():
  source = Waves()
  first(make(source, True).iterate(), 1)
  kept = len(reader._in_memory)
  del source
  assert len(reader._in_memory) == kept - 1
