import os
import socket

import numpy as np
import pytest
from pictures import config, write, write_tfds
from sklearn import datasets

from ssljax import data
from ssljax.data import tfds, tree
from ssljax.data.decode import decode
from ssljax.data.source import Subset


def paths(source):
  return [e["image"].name for e in source]


def test_digits_are_scikit_learns_split_the_same_way_every_time():
  train, test = data.build(config(name="digits"))
  again = data.build(config(name="digits"))
  assert (len(train), len(test), train.num_classes) == (1437, 360, 10)
  for one, other in zip((train, test), again, strict=True):
    np.testing.assert_array_equal(one.images, other.images)
  original = datasets.load_digits()
  images = np.concatenate([train.images, test.images])
  assert images.shape == (1797, 8, 8, 3)
  assert images.dtype == np.uint8
  grey = np.round(original.images * 255 / 16)
  assert sorted(map(bytes, images[..., 0])) == sorted(map(bytes, grey.astype(np.uint8)))
  counts = np.bincount(test.labels, minlength=10)
  assert counts.min() >= 34
  assert counts.max() <= 38


def test_folders_are_classes_however_deep_the_files_lie(tmp_path):
  for i in range(20):
    write(tmp_path / "cat" / f"{i}.png", i)
    write(tmp_path / "dog" / "2024" / f"{i}.PNG", i)
  write(tmp_path / "emu" / "0.png")
  (tmp_path / "cat" / "notes.txt").write_text("not a picture")
  (tmp_path / "cat" / ".hidden.png").write_text("not a picture")
  train, held_out = data.build(config(name="folder", dir=str(tmp_path)))
  assert train.class_names == held_out.class_names == ("cat", "dog", "emu")
  np.testing.assert_array_equal(np.bincount(train.labels), [18, 18, 1])
  np.testing.assert_array_equal(np.bincount(held_out.labels, minlength=3), [2, 2, 0])
  assert not set(train.files) & set(held_out.files)
  for example, file in zip(train, train.files, strict=True):
    assert train.class_names[example["label"]] == file.split(os.sep)[0]
  again = data.build(config(name="folder", dir=str(tmp_path)))
  assert again.eval.files == held_out.files


@pytest.mark.parametrize(
  "layout", ["a.png b.png", "one/a.png one/b.png", "a.png x/b.png"]
)
def test_a_pile_has_no_labels_and_nothing_to_evaluate_on(tmp_path, layout):
  for name in layout.split():
    write(tmp_path / name)
  train, evaluate = data.build(config(name="folder", dir=str(tmp_path)))
  assert sorted(paths(train)) == ["a.png", "b.png"]
  assert [e["label"] for e in train] == [-1, -1]
  assert (train.num_classes, evaluate) == (0, None)


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_train_and_evaluation_folders_are_the_splits(tmp_path, name):
  for c in ("ape", "bat", "cow"):
    write(tmp_path / "train" / c / f"{c}.png")
  for c in ("bat", "cow"):
    write(tmp_path / name / c / f"{c}.png")
  train, evaluate = data.build(config(name="folder", dir=str(tmp_path)))
  assert paths(train) == ["ape.png", "bat.png", "cow.png"]
  assert evaluate.class_names == train.class_names == ("ape", "bat", "cow")
  assert [e["label"] for e in evaluate] == [1, 2]


def test_a_training_folder_alone_is_held_out_from(tmp_path):
  for c in ("ape", "bat"):
    for i in range(2):
      write(tmp_path / "train" / c / f"{i}.png")
  train, evaluate = data.build(config(name="folder", dir=str(tmp_path)))
  assert (train.labels, evaluate.labels) == ([0, 1], [0, 1])


def test_classes_of_one_picture_leave_nothing_to_evaluate_on(tmp_path):
  write(tmp_path / "ape" / "0.png")
  write(tmp_path / "bat" / "0.png")
  train, evaluate = data.build(config(name="folder", dir=str(tmp_path)))
  assert (train.labels, evaluate) == ([0, 1], None)


def test_other_folders_are_splits_when_the_config_names_them(tmp_path):
  write(tmp_path / "photos" / "a.png")
  write(tmp_path / "query" / "b.png")
  fields = {"train_split": "photos", "eval_split": "query"}
  splits = data.build(config(name="folder", dir=str(tmp_path), **fields))
  assert [paths(s) for s in splits] == [["a.png"], ["b.png"]]


def test_links_are_followed_but_not_in_circles(tmp_path):
  write(tmp_path / "elsewhere" / "a.png")
  (tmp_path / "root").mkdir()
  (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "root")
  train, _ = data.build(config(name="folder", dir=str(tmp_path / "root")))
  assert train.files == [os.path.join("link", "a.png")]


def test_files_that_do_not_start_like_a_picture_are_left_out(tmp_path, caplog):
  write(tmp_path / "a.png")
  (tmp_path / "b.jpg").write_bytes(b"")
  (tmp_path / "c.png").write_bytes(b"hello")
  train, _ = data.build(config(name="folder", dir=str(tmp_path)))
  assert paths(train) == ["a.png"]
  assert "b.jpg" in caplog.text
  assert "c.png" in caplog.text


def test_header_checks_stop_where_they_would_take_long(tmp_path, monkeypatch):
  monkeypatch.setattr(tree, "CHECK_AT_MOST", 1)
  write(tmp_path / "a.png")
  (tmp_path / "b.png").write_bytes(b"hello")
  assert len(data.build(config(name="folder", dir=str(tmp_path))).train) == 2


@pytest.fixture
def no_network(monkeypatch):
  def refuse(*args, **kwargs):
    raise AssertionError(f"a network request: {args}")

  monkeypatch.setattr(socket.socket, "connect", refuse)
  monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_prepared_tfds_set_is_read_without_a_network(
  tmp_path, no_network, file_format
):
  write_tfds(tmp_path, file_format, {"train": 11, "test": 4})
  train, test = data.build(config(name="tiny", dir=str(tmp_path)))
  assert (len(train), len(test)) == (11, 4)
  assert train.class_names == ("ant", "bee", "cat")
  for i, example in enumerate(train.__getitems__(range(11))):
    assert example == train[i]
    assert example["label"] == i % 3
    np.testing.assert_array_equal(decode(example["image"], 4)[0], i)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_splits_are_sliced_as_tfds_slices(tmp_path, no_network, file_format):
  write_tfds(tmp_path, file_format, {"train": 12, "test": 4})
  splits = data.build(
    config(
      name="tiny",
      dir=str(tmp_path),
      train_split="train[50%:]+test",
      eval_split="train[:3]",
    )
  )
  pixels = [[decode(e["image"], 1)[0][0, 0, 0] for e in s] for s in splits]
  assert pixels == [[6, 7, 8, 9, 10, 11, 0, 1, 2, 3], [0, 1, 2]]


def test_cifar10_as_tfds_prepared_it(no_network):
  if "TFDS_DATA_DIR" not in os.environ:
    pytest.skip("TFDS_DATA_DIR names no prepared cifar10")
  train, test = data.build(config(name="cifar10", train_split="train[:1%]"))
  assert (len(train), len(test)) == (500, 10_000)
  assert train.class_names[:2] == ("airplane", "automobile")
  assert decode(train[0]["image"], 32)[0].std() > 10


def stray_class(root):
  for name in ("train/ape/0", "train/bat/0", "val/cow/0"):
    write(root / f"{name}.png")


def broken_files(root):
  (root / "0.png").write_bytes(b"hello")


ERRORS = [
  ({"name": "digits", "dir": "x"}, None, "data.name='digits' has no field"),
  ({"name": "folder"}, None, "data.dir is empty"),
  ({"name": "folder", "dir": "{root}/none"}, None, "is no folder"),
  ({"name": "folder", "dir": "{root}"}, None, r"no pictures under .*\(files: none\)"),
  ({"name": "folder", "dir": "{root}"}, broken_files, "none of the 1 pictures"),
  ({"name": "folder", "dir": "{root}"}, stray_class, "'cow' in .* is none of the 2"),
  (
    {"name": "folder", "dir": "{root}", "train_split": "trian"},
    stray_class,
    "data.train_split='trian' is no folder in .*, which has 'train', 'val'",
  ),
  ({"name": "cifr10", "dir": "{root}"}, None, "data.name='cifr10' .*try 'cifar10'"),
  ({"name": "a b", "dir": "{root}"}, None, "data.name='a b' is neither"),
  ({"name": "x:1.0.0", "dir": "{root}"}, None, "data.name='x:1.0.0' is neither"),
]


@pytest.mark.parametrize(("fields", "arrange", "sentence"), ERRORS)
def test_a_mistake_is_named_in_one_sentence(
  tmp_path, no_network, fields, arrange, sentence
):
  if arrange:
    arrange(tmp_path)
  fields = {k: v.format(root=tmp_path) for k, v in fields.items()}
  with pytest.raises(ValueError, match=sentence) as error:
    data.build(config(**fields))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("field", "split", "sentence"),
  [
    ("train_split", "trian", r"data.train_split='trian' is no split of 'tiny'"),
    ("eval_split", "test[9", r"data.eval_split='test\[9' is no split of 'tiny'"),
    ("eval_split", "test[:0]", r"data.eval_split='test\[:0\]' of 'tiny' is empty"),
  ],
)
def test_a_wrong_tfds_split_is_named(tmp_path, field, split, sentence):
  write_tfds(tmp_path, "array_record", {"train": 3, "test": 3}, shards=1)
  with pytest.raises(ValueError, match=sentence):
    data.build(config(name="tiny", dir=str(tmp_path), **{field: split}))


def test_what_cannot_be_prepared_says_why(tmp_path, monkeypatch):
  from ssljax.data import tfds

  class Builder:
    def __init__(self, error):
      self.error = error

    def download_and_prepare(self, download_config):
      raise self.error

  missing = ModuleNotFoundError("No module", name="tensorflow")
  with pytest.raises(ValueError, match=r"needs tensorflow: pip install 'ssljax\[tf\]'"):
    tfds._prepare(Builder(missing), "mnist", tmp_path)
  with pytest.raises(ValueError, match=r"data.dir .* ConnectionError: offline"):
    tfds._prepare(Builder(ConnectionError("offline")), "mnist", tmp_path)


def test_examples_keep_the_numbers_they_had_before_tfds_shuffled_them(tmp_path):
  """Its own shuffler tells; CIFAR-10's first picture is known to be 16399."""
  from tensorflow_datasets.core import shuffle

  write_tfds(tmp_path, "array_record", {"train": 30, "test": 30}, name="stl10")
  splits = data.build(config(name="stl10", dir=str(tmp_path)))
  for split, source in zip(("train", "test"), splits, strict=True):
    shuffler = shuffle.Shuffler(tmp_path, split)
    for number in range(30):
      shuffler.add(number, str(number).encode())
    assert source.listed().tolist() == [int(number) for _, number in shuffler]
  some = Subset(splits.train, [3, 5])
  np.testing.assert_array_equal(some.listed(), splits.train.listed()[[3, 5]])
  assert min(range(50_000), key=lambda n: tfds._hash(f"train{n}")) == 16399


@pytest.mark.parametrize(("name", "split"), [("tiny", "train"), ("stl10", "train[:9]")])
def test_numbers_that_tfds_lost_are_not_made_up(tmp_path, name, split):
  write_tfds(tmp_path, "array_record", {"train": 30, "test": 3}, name=name)
  source, _ = data.build(config(name=name, dir=str(tmp_path), train_split=split))
  with pytest.raises(ValueError, match="does not say which of its examples is which"):
    source.listed()
