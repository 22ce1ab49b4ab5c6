"""Folders as people have them: what is a split, a class, a picture, a name."""

import logging
import os
import unicodedata

import numpy as np
import pytest
from pictures import config, encode, smooth, write
from PIL import Image

from ssljax import data
from ssljax.data import folder, places


def lay(root, *names):
  for i, name in enumerate(names):
    write(root / name, i)


def build(root, **fields):
  return data.build(config(name="folder", dir=str(root), **fields))


def classes(root, part, count=2):
  return [f"{part}/{c}/{i}.png" for c in ("cat", "dog") for i in range(count)]


@pytest.mark.parametrize("train", ["Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize(
  "evaluate", ["Val", "valid", "Validation", "dev", "TEST", "testing", "eval"]
)
def test_splits_are_known_by_their_names_in_any_case(tmp_path, train, evaluate):
  lay(tmp_path, *classes(tmp_path, train), *classes(tmp_path, evaluate, 1))
  splits = build(tmp_path)
  assert splits.train.class_names == splits.eval.class_names == ("cat", "dog")
  assert [len(s) for s in splits] == [4, 2]
  assert splits.eval.root.name == evaluate


def test_what_is_to_choose_on_goes_before_the_test(tmp_path):
  for part in ("train", "test", "Validation"):
    lay(tmp_path, *classes(tmp_path, part))
  assert build(tmp_path).eval.root.name == "Validation"


def test_two_folders_of_one_meaning_are_refused_until_one_is_named(tmp_path):
  for part in ("train", "Train", "val", "valid"):
    lay(tmp_path, *classes(tmp_path, part))
  with pytest.raises(
    ValueError, match=r"'Train' and 'train'; .*data.train_split=Train"
  ):
    build(tmp_path)
  with pytest.raises(ValueError, match=r"'val' and 'valid'; .*data.eval_split=val"):
    build(tmp_path, train_split="train")
  splits = build(tmp_path, train_split="train", eval_split="valid")
  assert [s.root.name for s in splits] == ["train", "valid"]


def test_splits_without_one_to_train_on_are_refused_and_never_classes(tmp_path):
  lay(tmp_path, *classes(tmp_path, "Test"), *classes(tmp_path, "val"))
  with pytest.raises(ValueError, match=r"has 'Test', 'val': name the one to train on"):
    build(tmp_path)
  lay(tmp_path / "b", "train2017/a.png", "val2017/b.png")
  with pytest.raises(ValueError, match=r"has 'train2017', 'val2017': name the one"):
    build(tmp_path / "b")
  as_classes = build(tmp_path / "b", train_split=".")
  assert as_classes.train.class_names == ("train2017", "val2017")


def test_a_train_beside_cars_is_a_class_and_said_to_be_one(tmp_path, caplog):
  lay(tmp_path, *(f"{c}/{i}.png" for c in ("bus", "train") for i in range(2)))
  assert build(tmp_path).train.class_names == ("bus", "train")
  assert "'train' beside 'bus' is taken as a class" in caplog.text
  assert "--config.data.train_split=train" in caplog.text


def test_folders_beside_a_training_split_of_classes_are_left_out_aloud(
  tmp_path, caplog
):
  lay(tmp_path, *classes(tmp_path, "train"), "extra/a.png", "test/cat/b.png")
  (tmp_path / "notes").mkdir()
  splits = build(tmp_path)
  assert [s.root.name for s in splits] == ["train", "test"]
  assert "Left out of" in caplog.text
  assert "'extra'" in caplog.text
  assert "notes" not in caplog.text


def test_what_is_evaluated_on_is_not_trained_on_too(tmp_path, caplog):
  lay(tmp_path, *(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(2)))
  lay(tmp_path, "test/cat/a.png")
  splits = build(tmp_path, eval_split="test")
  assert splits.train.class_names == ("cat", "dog")
  assert [len(s) for s in splits] == [4, 1]
  assert build(tmp_path).train.class_names == ("cat", "dog", "test")
  assert "'test' beside 'cat', 'dog' counts as a class" in caplog.text
  assert build(tmp_path / "test", train_split=".").eval is None
  lay(tmp_path / "b", *classes(tmp_path, "test"))
  assert build(tmp_path / "b", train_split="test").eval.root.name == "test"  # held out


def test_a_picture_beside_the_classes_is_left_out_aloud(tmp_path, caplog):
  lay(tmp_path, *classes(tmp_path, "train"), *classes(tmp_path, "val"))
  lay(tmp_path, "train/cover.png", "val/sheet.png")
  splits = build(tmp_path)
  assert splits.train.class_names == ("cat", "dog")
  assert [len(s) for s in splits] == [4, 4]
  for name in ("cover.png", "sheet.png"):
    assert f"as they lie beside its classes: 1 pictures: '{name}'" in caplog.text


def test_lost_labels_are_said(tmp_path, caplog):
  lay(tmp_path / "pile", "a.png", "b.png", "c.png", "x/d.png", "y/e.png")
  assert build(tmp_path / "pile").train.num_classes == 0
  assert "has no labels: 3 of its pictures lie beside its 2 folders" in caplog.text
  caplog.clear()
  lay(tmp_path / "one", "photos/cat/a.png", "photos/dog/b.png")
  assert build(tmp_path / "one").train.num_classes == 0
  assert "there is 'photos' alone" in caplog.text
  inner = build(tmp_path / "one", train_split="photos")
  assert inner.train.class_names == ("cat", "dog")


def test_empty_folders_are_no_classes_and_small_ones_are_trained_on_aloud(
  tmp_path, caplog
):
  lay(tmp_path, "ant/0.png", *(f"bee/{i}.png" for i in range(3)))
  (tmp_path / "cow").mkdir()
  splits = build(tmp_path)
  assert splits.train.class_names == ("ant", "bee")
  assert (sorted(splits.train.labels), splits.eval.labels) == ([0, 1, 1], [1])
  assert "for they hold no pictures: 'cow'" in caplog.text
  assert "not evaluated on: 'ant'" in caplog.text


def test_one_folder_linked_as_two_classes_is_two_classes_aloud(tmp_path, caplog):
  lay(tmp_path / "real", "a.png", "b.png")
  root = tmp_path / "root"
  root.mkdir()
  for name in ("cat", "dog"):
    (root / name).symlink_to(tmp_path / "real")
  (root / "cat" / "self").symlink_to(root)
  lay(root, "emu/a.png")
  (root / "emu" / "twice").symlink_to(tmp_path / "real")
  (root / "emu" / "again").symlink_to(tmp_path / "real")
  train = build(root, train_split=".").train
  whole = folder.PICTURES.endings
  files = sorted(tree_files(root, whole))
  assert train.class_names == ("cat", "dog", "emu")
  assert "'dog is cat'" in caplog.text
  assert [f for f in files if f.startswith("dog")] == ["dog/a.png", "dog/b.png"]
  assert [f for f in files if f.startswith("emu")] == [
    *("emu/a.png", "emu/again/a.png", "emu/again/b.png"),
  ]


def tree_files(root, endings):
  from ssljax.data.walk import Walk

  return list(Walk(root, endings))


def test_links_to_files_are_read_and_links_to_nothing_are_named(tmp_path, caplog):
  lay(tmp_path, "real/a.png", "root/cat/own.png")
  root = tmp_path / "root"
  (root / "cat" / "linked.png").symlink_to(tmp_path / "real" / "a.png")
  (root / "cat" / "gone.png").symlink_to(tmp_path / "nothing.png")
  (root / "cat" / "circle.png").symlink_to(root / "cat" / "circle.png")
  os.link(tmp_path / "real" / "a.png", root / "cat" / "hard.png")
  os.mkfifo(root / "cat" / "pipe.png")
  train = build(root).train
  assert [f.split("/")[1] for f in train.files] == ["hard.png", "linked.png", "own.png"]
  for name in ("gone.png (a link to nothing)", "circle.png", "pipe.png (no file"):
    assert name in caplog.text


def test_what_is_no_picture_is_counted_by_ending(tmp_path, caplog):
  lay(tmp_path, "a.png", ".b.png")
  for name in ("c.csv", "d.CSV", "e.txt", "f"):
    (tmp_path / name).write_text("no picture")
  build(tmp_path)
  assert "2 of .csv, 1 hidden, 1 of .txt, 1 without an ending" in caplog.text
  assert caplog.records[0].levelno >= logging.WARNING  # what run.py shows


SAVED = {  # what Pillow writes -> endings that it is known by
  "JPEG": (".jpg", ".JPEG", ".jfif", ".jpe"),
  "PNG": (".png", ".Png", ".apng"),
  "TIFF": (".tif", ".TIFF"),
  "BMP": (".bmp", ".dib"),
  "GIF": (".gif",),
  "WEBP": (".webp", ".WEBP"),
  "AVIF": (".avif",),
  "JPEG2000": (".jp2", ".j2k"),
  "PPM": (".ppm", ".pnm"),
  "TGA": (".tga",),
  "PCX": (".pcx",),
  "ICO": (".ico",),
  "SGI": (".rgb", ".sgi"),
  "DDS": (".dds",),
  "QOI": (".qoi",),
}
ENDINGS = [(format, ending) for format, endings in SAVED.items() for ending in endings]


@pytest.mark.parametrize(("format", "ending"), ENDINGS)
def test_every_ending_that_pillow_opens_is_a_picture(tmp_path, format, ending):
  for name in ("a", "b"):
    picture = encode(smooth(16, 16), format)
    (tmp_path / f"{name}{ending}").write_bytes(picture)
  train = build(tmp_path).train
  assert train.files == [f"a{ending}", f"b{ending}"]
  batch = next(data.eval_batches(train, 2, size=16, in_memory=False, workers=1))
  assert batch["mask"].all()
  np.testing.assert_allclose(batch["image"][0], smooth(16, 16).astype(int), atol=60)


def test_videos_and_tables_are_no_pictures():
  Image.init()
  assert {".mpg", ".h5", ".eps", ".grib", ".wmf"}.isdisjoint(folder.PICTURES.endings)
  assert {".png", ".tif", ".psd", ".fits", ".xbm"} <= folder.PICTURES.endings


LATIN = os.fsdecode(b"caf\xe9")
NAMES = [
  *(LATIN, "line\nbreak", "emoji \U0001f469‍\U0001f680", "x" * 200),
  *("a#b?c%20&d", " spaces ", "<b>bold</b>", "quote'\"", "-rf", "日本"),
]


def test_names_of_every_kind_are_read_as_any_other(tmp_path, caplog):
  for name in NAMES:
    lay(tmp_path, f"{name}/{name}.png", f"{name}/0.png", "zebra/0.png")
  splits = build(tmp_path)
  assert len(splits.train.class_names) == len(NAMES) + 1
  for name in splits.train.class_names:
    assert name.encode().decode() == name
    assert "\n" not in name
  assert "caf\\xe9" in splits.train.class_names
  batches = data.eval_batches(splits.train, 4, size=8, in_memory=False, workers=1)
  assert all(batch["mask"][: len(splits.train)].any() for batch in batches)


def test_a_name_composed_in_two_ways_is_one_class(tmp_path):
  one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
  lay(tmp_path, f"train/{one}/0.png", "train/tea/0.png", f"val/{other}/0.png")
  splits = build(tmp_path)
  assert splits.train.class_names == ("café", "tea")
  assert splits.eval.labels == [0]


def test_names_are_printed_as_utf_8_whatever_they_are():
  assert places.printable(LATIN) == "caf\\xe9"
  assert places.printable("a\nb\x1b") == "a\\nb\\x1b"
  assert places.printable("日本 \U0001f469‍\U0001f680") == "日本 \U0001f469‍\U0001f680"
  assert places.listed(["a", LATIN, "c"], 2) == "'a', 'caf\\xe9' and 1 more"


def test_broken_files_of_any_name_are_named_aloud(tmp_path, caplog):
  lay(tmp_path, "a.png")
  (tmp_path / f"{LATIN}.png").write_bytes(b"")
  for i in range(20):
    (tmp_path / f"{i:02}.png").write_bytes(b"no")
  assert len(build(tmp_path).train) == 1
  assert "cannot be read: 21 pictures" in caplog.text
  assert "and 11 more" in caplog.text
  caplog.text.encode()


def test_places_are_named_as_people_name_them(tmp_path, monkeypatch):
  lay(tmp_path, "photos/a.png", "photos/b.png")
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  for place in ("~/photos", "photos", "photos/", "./photos/../photos", "."):
    assert len(build(place).train) == 2
  (tmp_path / "photos.zip").write_bytes(b"PK")
  with pytest.raises(ValueError, match=r"photos.zip' is no folder; .*unpack it"):
    build("photos.zip")
  with pytest.raises(ValueError, match=r"'~no-such-user/x' begins with no one's"):
    build("~no-such-user/x")


def test_a_thousand_classes_and_nested_ones(tmp_path):
  picture = encode(smooth(4, 4))
  for i in range(1000):
    inner = tmp_path / f"n{i:05}" / "part" / "images"
    inner.mkdir(parents=True)
    (inner / "0.png").write_bytes(picture)
  train = build(tmp_path).train
  assert (len(train), train.num_classes, train.labels) == (
    1000,
    1000,
    list(range(1000)),
  )


def test_a_folder_called_unlabelled_is_no_class_and_is_trained_on(tmp_path, caplog):
  lay(tmp_path, *(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(2)))
  lay(tmp_path, *(f"Unlabeled/{i}.png" for i in range(30)))
  splits = build(tmp_path)
  assert splits.train.class_names == ("cat", "dog")
  assert sorted(splits.train.labels) == [-1] * 30 + [0, 1]
  assert sorted(splits.eval.labels) == [0, 1]
  assert "Without a label" in caplog.text
  assert "30 of 34 pictures" in caplog.text
  assert "hold no pictures" not in caplog.text
  lay(tmp_path / "b", "unlabelled/0.png", "cat/0.png")
  assert build(tmp_path / "b").train.num_classes == 2  # there is no other to tell


def test_classes_that_differ_by_case_are_said(tmp_path, caplog):
  lay(tmp_path, "Cat/0.png", "cat/0.png", "dog/0.png")
  assert build(tmp_path).train.class_names == ("Cat", "cat", "dog")
  assert "differ by case: 'Cat', 'cat'" in caplog.text


def test_an_evaluation_folder_inside_the_training_folder_is_not_trained_on(tmp_path):
  lay(tmp_path, *classes(tmp_path, "all"), "all/held/test/cat/a.png")
  splits = build(tmp_path, train_split="all", eval_split="all/held/test")
  assert splits.train.class_names == ("cat", "dog")
  assert [len(s) for s in splits] == [4, 1]


def test_one_folder_to_train_and_to_evaluate_on_is_said(tmp_path, caplog):
  lay(tmp_path, *classes(tmp_path, "all"))
  build(tmp_path, train_split="all", eval_split="all")
  assert "Evaluated on what it is trained on" in caplog.text


@pytest.mark.parametrize(
  ("link", "target", "fields"),
  [
    ("val", "train", {}),
    ("one", "train", dict(train_split="one", eval_split="train")),
    ("data", ".", dict(train_split="train", eval_split="data/train")),
    ("same", ".", dict(train_split=".", eval_split="same")),
  ],
)
def test_a_link_to_what_is_trained_on_is_said(tmp_path, caplog, link, target, fields):
  lay(tmp_path, *classes(tmp_path, "train"))
  (tmp_path / link).symlink_to(target)
  train, evaluate = build(tmp_path, **fields)
  assert f"Evaluated on what it is trained on: {train.name}" in caplog.text
  assert len(train) == len(evaluate) == 4


def test_an_evaluation_folder_that_a_link_leads_into_is_not_trained_on(tmp_path):
  lay(tmp_path, *classes(tmp_path, "all"), "all/held/cat/a.png", "more/cat/b.png")
  (tmp_path / "link").symlink_to("all")
  splits = build(tmp_path, train_split="link", eval_split="all/held")
  assert [len(s) for s in splits] == [4, 1]
  (tmp_path / "all" / "far").symlink_to("../more")
  splits = build(tmp_path, train_split="all", eval_split="all/far")
  assert [len(s) for s in splits] == [5, 1]


@pytest.mark.parametrize("train", ["train", "link"])
def test_to_evaluate_on_all_and_train_on_a_part_is_said(tmp_path, caplog, train):
  lay(tmp_path, "train/a.png", "train/b.png", "c.png")
  (tmp_path / "link").symlink_to("train")
  splits = build(tmp_path, train_split=train, eval_split=".")
  assert len(splits.train) == 2
  assert "Evaluated on what it is trained on, and more: " in caplog.text


def test_a_pile_to_evaluate_classes_on_is_refused(tmp_path):
  lay(tmp_path, *classes(tmp_path, "train"), "val/a.png", "val/b.png")
  with pytest.raises(ValueError, match=r"all 2 pictures of .*val' lie beside each"):
    build(tmp_path)


def test_classes_to_evaluate_a_pile_on_have_no_labels(tmp_path, caplog):
  lay(tmp_path, "train/a.png", "train/b.png", *classes(tmp_path, "val"))
  splits = build(tmp_path)
  assert splits.train.num_classes == splits.eval.num_classes == 0
  assert set(splits.eval.labels) == {-1}
  assert "val are no classes, as the training split has none" in caplog.text
