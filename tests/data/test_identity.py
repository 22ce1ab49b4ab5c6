"""Moved data is the same data; whatever else changes of it makes it another's."""

import errno
import os
import shutil

import numpy as np
import pytest
from pictures import config, encode, smooth, write, write_tfds

from ssljax import data
from ssljax.data import identity, tree
from ssljax.data.source import Source, Subset


def known(folder, name="folder", **fields):
  """Of the training split of what lies in `folder`."""
  return data.identify(data.build(config(name=name, dir=str(folder), **fields)).train)


def moved(folder, to):
  """A copy as `cp -r`, `unzip` or `git clone` make one: nothing keeps its time."""
  shutil.copytree(folder, to, copy_function=shutil.copyfile)
  for path in to.rglob("*"):
    os.utime(path, (1e9, 1e9))
  return to


def make_folder(root):
  for split, seed in (("train", 0), ("val", 9)):
    for name in ("cat", "dog"):
      for i in range(3):
        write(root / split / name / f"{i}.png", seed=seed + i)


def make_planes(root):
  for i in range(3):
    write(root / "train" / "rgb" / f"{i}.png", seed=i)


def make_npz(root):
  root.mkdir()
  rgb = np.stack([smooth(8, 8, i) for i in range(6)])
  np.savez(root / "train.npz", rgb=rgb, label=np.arange(6) % 2)


def make_captions(root):
  for i in range(3):
    write(root / f"{i}.png", seed=i)
  rows = [f"{i}.png,a picture of number {i},{'ab'[i % 2]}" for i in range(3)]
  (root / "captions.csv").write_text("\n".join(("file,caption,label", *rows)))


def make_text(root):
  for name in ("one", "two"):
    (root / name).mkdir(parents=True)
    (root / name / "it.txt").write_text(f"This is {name}. Here it goes on. " * 8)


MAKERS = {
  "folder": (make_folder, "folder", {}),
  "planes": (make_planes, "arrays", {"planes": (("rgb", 3),)}),
  "arrays": (make_npz, "arrays", {"planes": (("rgb", 3),)}),
  "captions": (make_captions, "captions", {"vocabulary": 300, "context": 8}),
  "text": (make_text, "text", {"sentences": 2, "vocabulary": 300, "context": 8}),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_moved_data_is_the_same(kind, tmp_path):
  make, name, fields = MAKERS[kind]
  make(tmp_path / "here")
  before = known(tmp_path / "here", name, **fields)
  elsewhere = moved(tmp_path / "here", tmp_path / "elsewhere" / "there")
  now = known(elsewhere, name, **fields)
  assert data.differences(before, now) == []
  assert data.lasting(before) == data.lasting(now)


def swap(root):
  """Two pictures of one size change places: names and sizes stay."""
  one, other = root / "train/cat/0.png", root / "train/dog/1.png"
  for path, seed in ((one, 1), (other, 2)):
    path.write_bytes(encode(smooth(12, 9, seed), "BMP"))
  before = known(root)
  content = one.read_bytes()
  one.write_bytes(other.read_bytes())
  other.write_bytes(content)
  return before


def rewritten(root):
  before = known(root)
  (root / "train/cat/0.png").write_bytes(encode(smooth(12, 9, 77)))
  return before


def relabelled(root):
  before = known(root)
  (root / "train/cat/0.png").rename(root / "train/dog/3.png")
  return before


def renamed(root):
  before = known(root)
  (root / "train/cat").rename(root / "train/cow")
  (root / "val/cat").rename(root / "val/cow")
  return before


def more(root):
  before = known(root)
  write(root / "train" / "cat" / "9.png")
  return before


@pytest.mark.parametrize(
  ("change", "word"),
  [
    (swap, "contents"),
    (rewritten, "sizes"),
    (relabelled, "labels"),
    (renamed, "classes"),
    (more, r"examples (6, now 7)"),
  ],
)
def test_changed_pictures_are_other_data(change, word, tmp_path):
  make_folder(tmp_path / "it")
  before = change(tmp_path / "it")
  assert word in data.differences(before, known(tmp_path / "it"))


def test_changed_arrays_labels_and_captions_are_other_data(tmp_path):
  fields = MAKERS["arrays"][2]
  make_npz(tmp_path / "npz")
  before = known(tmp_path / "npz", "arrays", **fields)
  with np.load(tmp_path / "npz" / "train.npz") as file:
    arrays = dict(file)
  np.savez(tmp_path / "npz" / "train.npz", **arrays)  # the same once more
  assert data.differences(before, known(tmp_path / "npz", "arrays", **fields)) == []
  changed = {**arrays, "label": arrays["label"][::-1]}
  np.savez(tmp_path / "npz" / "train.npz", **changed)
  words = data.differences(before, known(tmp_path / "npz", "arrays", **fields))
  assert "labels" in words
  assert "arrays" not in words
  _, name, fields = MAKERS["captions"]
  make_captions(tmp_path / "pairs")
  before = known(tmp_path / "pairs", name, **fields)
  table = tmp_path / "pairs" / "captions.csv"
  table.write_text(table.read_text().replace("number 1", "nothing!"))
  words = data.differences(before, known(tmp_path / "pairs", name, **fields))
  assert "captions" in words
  assert "names" not in words


def test_a_prepared_data_set_is_the_same_in_either_format(tmp_path):
  identities = []
  for place, file_format in (("a", "array_record"), ("b", "tfrecord")):
    write_tfds(tmp_path / place, file_format, {"train": 12, "test": 4})
    identities.append(known(tmp_path / place, "tiny"))
  assert data.differences(*identities) == []
  assert known(tmp_path / "a", "tiny", train_split="train[:6]")["examples"] == 6
  halves = (
    known(tmp_path / "a", "tiny", train_split=split)
    for split in ("train[:6]", "train[6:]")
  )
  assert data.differences(*halves) == ["contents"]


def test_a_part_is_known_by_its_numbers():
  digits = data.build(config()).train
  first, second = (data.identify(Subset(digits, n)) for n in ((0, 1), (0, 2)))
  assert "chosen" in data.differences(first, second)
  assert data.differences(first, data.identify(Subset(digits, [0, 1]))) == []


class Pile(Source):
  """Pictures, of which some cannot be read at times."""

  name = "pile"

  def __init__(self, broken=()):
    self.broken = broken

  def __len__(self):
    return 40

  def __getitem__(self, index):
    if index in self.broken:
      raise OSError("the disk is away")
    return {"image": bytes([index]), "label": -1}


def test_what_cannot_be_read_now_is_not_taken_for_a_change():
  assert data.differences(*map(data.identify, (Pile(), Pile(broken=(3,))))) == []
  before, now = data.identify(Pile(broken=(3,))), data.identify(Pile())
  assert before["contents"].split("-").count(identity.UNKNOWN) == 1
  assert data.differences(before, now) == []


def test_of_large_files_the_ends_and_the_middle_are_read(tmp_path):
  content = bytearray(np.random.default_rng(0).bytes(4 * identity.WHOLE))
  file, known = tmp_path / "it", set()
  for place in (None, 0, len(content) // 3, len(content) - 1):
    changed = content.copy()
    if place is not None:
      changed[place] ^= 1
    file.write_bytes(changed)
    known.add(identity.digest(file))
  assert len(known) == 4


def test_a_file_that_the_disk_does_not_give_now_counts_as_it_did(tmp_path, caplog):
  make_folder(tmp_path)
  away = []

  def read_header(file):
    if file.name in away:
      raise PermissionError(errno.EACCES, "Permission denied", str(file))

  kind = tree.Kind("image", "pictures", frozenset({".png"}), read_header)
  before = data.identify(tree.splits(kind, str(tmp_path), "", "").train)
  away.append("1.png")
  now = data.identify(tree.splits(kind, str(tmp_path), "", "").train)
  assert data.differences(before, now) == []
  assert "replaced by the next until it does: 'cat/1.png" in caplog.text
