"""Data that is damaged, or goes while it is read: a sentence, and which file it is."""

import errno
import itertools
import os
import struct

import numpy as np
import pytest
from pictures import WRITERS, config, encode, smooth, write, write_tfds

from ssljax import data
from ssljax.fields import ConfigError

FORMATS = pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])


def first_shard(root, file_format, count=24):
  write_tfds(root, file_format, {"train": count, "test": 4})
  return root / "tiny" / "1.0.0" / f"tiny-train.{file_format}-00000-of-00002"


def delete(file):
  file.unlink()


def empty(file):
  os.truncate(file, 0)


def cut(file):
  os.truncate(file, file.stat().st_size - 1)


def cut_in_the_middle(file):
  os.truncate(file, file.stat().st_size // 2)


def scramble(file):
  file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def lengthen(file):
  with file.open("ab") as f:
    f.write(b"\1" * 1000)


def take_another(file):
  """A whole file, but of another number of records."""
  kind = file.suffix.split("-")[0].removeprefix(".")
  WRITERS[kind](file, [b"x"])


DAMAGES = [delete, empty, cut, cut_in_the_middle, scramble, lengthen, take_another]


@FORMATS
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_before_anything_starts(tmp_path, file_format, damage):
  shard = first_shard(tmp_path, file_format)
  damage(shard)
  with pytest.raises(ValueError, match=f"{shard.name}.*missing, cut short or dam") as e:
    data.build(config(name="tiny", dir=str(tmp_path)))
  assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("damage", [delete, empty, cut_in_the_middle])
def test_damaged_facts_of_a_data_set_are_named(tmp_path, name, damage):
  shard = first_shard(tmp_path, "array_record")
  damage(shard.parent / name)
  with pytest.raises(ValueError, match=str(tmp_path)) as error:
    data.build(config(name="tiny", dir=str(tmp_path)))
  assert "\n" not in str(error.value)


def test_a_record_that_is_none_is_replaced_and_named(tmp_path):
  shard = first_shard(tmp_path, "tfrecord")
  whole = bytearray(shard.read_bytes())
  (length,) = struct.unpack_from("<Q", whole)
  whole[12 : 12 + length] = b"\xff" * length
  shard.write_bytes(whole)
  train = data.build(config(name="tiny", dir=str(tmp_path))).train
  loader = data.make_loader(train, 8, 0, size=4, in_memory=True, workers=1)
  assert list(loader.unreadable) == [0]
  assert shard.name in loader.unreadable[0]
  np.testing.assert_array_equal(loader._reader.arrays["index"][:3], [1, 1, 2])


@FORMATS
def test_a_file_cut_while_it_is_read_ends_in_a_sentence(tmp_path, file_format):
  shard = first_shard(tmp_path, file_format)
  train = data.build(config(name="tiny", dir=str(tmp_path))).train
  for part in shard.parent.glob("tiny-train*"):
    os.truncate(part, 40)
  with pytest.raises(data.DataGoneError, match=r"tiny-train.*check the data"):
    list(data.eval_batches(train, 8, size=4, in_memory=True, workers=1))


def pile(root, count=12):
  for i in range(count):
    write(root / f"{i:02}.png", i)
  return data.build(config(name="folder", dir=str(root))).train


def vanish(root):
  """At once, as a disk goes: files that went one by one would be unreadable ones."""
  root.rename(root.with_name("away"))


def unmount(root):
  """Leaves an empty folder, as a place where a disk was mounted."""
  root.with_name("empty").mkdir()
  vanish(root)
  root.with_name("empty").rename(root)


GONE = [(vanish, "No such file"), (unmount, "(is empty now|No such file)")]


@pytest.mark.parametrize(("go", "reason"), GONE)
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_disk_that_vanishes_is_a_sentence_and_no_replaced_example(
  tmp_path, go, reason, in_memory
):
  train = pile(tmp_path / "data")
  shape = {"size": 4, "workers": 2}
  if in_memory:
    go(tmp_path / "data")
    with pytest.raises(data.DataGoneError, match=f"data' .*{reason}") as error:
      data.make_loader(train, 4, 0, in_memory=True, **shape)
  else:
    loader = data.make_loader(train, 4, 0, in_memory=False, **shape)
    batches = data.prefetch(loader.iterate(), 1)
    next(batches)
    go(tmp_path / "data")
    with pytest.raises(data.DataGoneError, match=f"data' .*{reason}") as error:
      list(itertools.islice(batches, 50))
    assert not loader.unreadable
  assert isinstance(error.value, ConfigError)  # what run.py prints as a sentence


def test_a_run_goes_on_as_if_the_disk_had_never_been_away(tmp_path):
  train = pile(tmp_path / "data")
  shape = {"size": 4, "in_memory": False, "workers": 2}
  whole = list(itertools.islice(data.make_loader(train, 4, 0, **shape).iterate(), 12))
  (tmp_path / "data").rename(tmp_path / "away")
  with pytest.raises(data.DataGoneError):
    next(data.make_loader(train, 4, 0, **shape).iterate(5))
  (tmp_path / "away").rename(tmp_path / "data")
  rest = itertools.islice(data.make_loader(train, 4, 0, **shape).iterate(5), 7)
  for one, other in zip(rest, whole[5:], strict=True):
    np.testing.assert_array_equal(one["image"], other["image"])
    np.testing.assert_array_equal(one["index"], other["index"])


def test_one_file_that_is_deleted_is_replaced_and_named(tmp_path):
  train = pile(tmp_path / "data")
  (tmp_path / "data" / "03.png").unlink()
  loader = data.make_loader(train, 4, 0, size=4, in_memory=True, workers=1)
  assert list(loader.unreadable) == [3]
  assert "FileNotFoundError" in loader.complaint()


@pytest.mark.parametrize(
  ("picture", "reason"),
  [
    (encode(smooth(64, 64))[:900], "OSError"),
    (encode(smooth(64, 64), "JPEG")[:600], "OSError"),
    (b"", "UnidentifiedImageError"),
  ],
)
def test_a_picture_cut_short_is_replaced_and_not_half_grey(tmp_path, picture, reason):
  train = pile(tmp_path)
  (tmp_path / "05.png").write_bytes(picture)
  loader = data.make_loader(train, 4, 0, size=4, in_memory=True, workers=1)
  assert list(loader.unreadable) == [5]
  assert reason in loader.unreadable[5]
  np.testing.assert_array_equal(loader._reader.arrays["index"][5], 6)


@pytest.mark.parametrize("name", ["folder", "captions", "arrays"])
def test_a_disk_that_fails_is_a_sentence(tmp_path, monkeypatch, name):
  write(tmp_path / "a.png")

  def fail(place, *_):
    raise OSError(errno.EIO, os.strerror(errno.EIO), str(place))

  monkeypatch.setattr(os, "scandir", fail)
  monkeypatch.setattr(os, "listdir", fail)
  planes = {"planes": (("rgb", 3),)} if name == "arrays" else {}
  with pytest.raises(ValueError, match=r"data.dir='.*' cannot be read: Input/output"):
    data.build(config(name=name, dir=str(tmp_path), **planes))
