"""Canvases decoded once are those of direct decoding, of the same data, or refused."""

import csv
import errno
import json
import os

import numpy as np
import pytest
from ml_collections import ConfigDict
from pictures import config, encode, smooth, write, write_tfds
from PIL import Image

import ssljax
from ssljax import data, provenance, runs
from ssljax.data import canvases, prepared, preparing
from ssljax.data.codec import UnreadableError
from ssljax.data.decode import as_stored
from ssljax.fields import ConfigError
from ssljax.runs.lock import Lock

SIZE = 8


@pytest.fixture
def photos(tmp_path):
  """A folder of two classes: PNGs, JPEGs above and below the canvas, one unreadable."""
  for i in range(11):
    write(tmp_path / "photos" / "ab"[i % 2] / f"{i:02d}.png", i)
  for i, (width, height) in enumerate([(7, 5), (8, 8), (40, 30)]):
    jpeg = encode(smooth(width, height, i), "JPEG")
    (tmp_path / "photos" / "b" / f"{i}.jpg").write_bytes(jpeg)
  (tmp_path / "photos" / "a" / "04.png").write_bytes(encode(smooth(30, 30))[:300])
  return tmp_path / "photos"


@pytest.fixture
def small_shards(monkeypatch):
  monkeypatch.setattr(canvases, "RAW_BYTES", 4 * SIZE * SIZE * 3)  # of four pictures
  monkeypatch.setattr(canvases, "JPEGS", 4)


def prepare(folder, *, form="raw", **fields):
  fields = config(**{"size": SIZE, **fields})
  del fields["in_memory"]
  line = {"evaluator": "prepare", "data": fields, "prepare": {"form": form}}
  return ssljax.evaluate(ConfigDict(line), folder)


def batches(splits, in_memory, size=SIZE):
  """Two epochs of training, then the evaluation split."""
  options = {"size": size, "in_memory": in_memory, "workers": 2}
  loader = data.make_loader(splits.train, 4, 0, **options)
  train = loader.iterate()
  steps = [next(train) for _ in range(2 * loader.steps_per_epoch)]
  test = splits.eval and list(data.eval_batches(splits.eval, 4, **options))
  return [*steps, *(test or ())], loader.unreadable


def assert_same_data(direct, ours):
  assert provenance.identify(ours) == provenance.identify(direct)
  for a, b in zip(direct, ours, strict=True):
    assert (a is None) == (b is None)
    if a is not None:
      assert b.spec(SIZE) == a.spec(SIZE)
      assert (b.name, b.class_names) == (a.name, a.class_names)
      assert [b.path(i) for i in range(len(b))] == [a.path(i) for i in range(len(a))]
      assert a.known_labels() is None or list(b.known_labels()) == a.known_labels()
  for in_memory in (True, False):
    (x, lost), (y, ours_lost) = (batches(s, in_memory) for s in (direct, ours))
    assert lost == ours_lost
    assert len(x) == len(y)
    for one, other in zip(x, y, strict=True):
      assert one.keys() == other.keys()
      for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)
        assert other[name].dtype == value.dtype


def check_both(folder, **fields):
  """Prepares what the fields name, and compares it with what they give directly."""
  prepare(folder, **{k: v for k, v in fields.items() if k not in LATER})
  direct = data.build(config(size=SIZE, **fields))
  ours = data.build(config(size=SIZE, prepared=str(folder), **fields))
  assert_same_data(direct, ours)


LATER = ("captions", "context", "vocabulary", "held_out", "per_class")


def test_a_folder(photos, tmp_path, small_shards, capsys):
  check_both(tmp_path / "canvases", name="folder", dir=str(photos))
  assert "1 of them unreadable" in capsys.readouterr().out


def test_parts_of_a_folder(photos, tmp_path):
  part = {"held_out": 0.4, "per_class": 2}
  check_both(tmp_path / "canvases", name="folder", dir=str(photos), **part)


def test_so_many_of_each_class_where_pictures_are_cut(photos, tmp_path):
  for file in ("a/00.png", "a/02.png", "b/01.png"):
    (photos / file).write_bytes(encode(smooth(30, 30))[:300])
  check_both(tmp_path / "canvases", name="folder", dir=str(photos), per_class=4)


def test_captions_made_of_classes(photos, tmp_path):
  words = {"captions": ("a {}.",), "context": 6, "vocabulary": 300}
  check_both(tmp_path / "canvases", name="folder", dir=str(photos), **words)


def test_a_table_of_captions(photos, tmp_path):
  with (photos / "captions.csv").open("w") as file:
    writer = csv.writer(file)
    writer.writerow(("file", "caption"))
    writer.writerows((f"b/{i:02d}.png", f"picture {i}") for i in range(1, 11, 2))
  words = {"context": 6, "vocabulary": 300}
  check_both(tmp_path / "canvases", name="captions", dir=str(photos), **words)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_data_set_of_tfds(tmp_path, file_format, small_shards):
  write_tfds(tmp_path / "tfds", file_format, {"train": 11, "test": 5})
  check_both(tmp_path / "canvases", name="tiny", dir=str(tmp_path / "tfds"))


def test_shards_keep_the_size_they_were_begun_with(photos, tmp_path, monkeypatch):
  fields = {"name": "folder", "dir": str(photos)}
  for photos_a_shard in (5, 3):
    monkeypatch.setattr(canvases, "RAW_BYTES", photos_a_shard * SIZE * SIZE * 3)
    prepare(tmp_path / "canvases", **fields)
    data.build(config(size=SIZE, prepared=str(tmp_path / "canvases"), **fields))
  shards = sorted((tmp_path / "canvases" / "train").glob("*.npy"))
  assert [len(np.load(shard)) for shard in shards] == [5, 5, 2]


def test_planes_of_scenes(tmp_path):
  rng = np.random.default_rng(0)
  rgb, depth = rng.integers(0, 256, (6, 9, 9, 3), np.uint8), rng.random((6, 9, 9))
  np.savez(tmp_path / "train.npz", rgb=rgb, depth=depth)
  planes = {"dir": str(tmp_path / "train.npz"), "planes": (("rgb", 3), ("depth", 1))}
  check_both(tmp_path / "canvases", name="arrays", **planes)
  with pytest.raises(ConfigError, match="has planes; try 'raw'"):
    prepare(tmp_path / "jpegs", form="jpeg", name="arrays", **planes)


def test_numpy_maps_raw_canvases_as_they_are(photos, tmp_path):
  prepare(tmp_path / "canvases", name="folder", dir=str(photos))
  mapped = np.load(tmp_path / "canvases" / "train" / "00000.npy", mmap_mode="r")
  source = data.build(config(size=SIZE, name="folder", dir=str(photos))).train
  assert mapped.shape == (len(source), SIZE, SIZE, 3)
  first = source.codecs(SIZE)[0].decode(source[0])
  np.testing.assert_array_equal(mapped[0], first["image"])


def test_jpegs_are_near_and_those_that_fit_are_as_they_were(tmp_path):
  sizes = {"a/0": (90, 70), "a/1": (70, 40), "b/0": (64, 50), "b/1": (20, 30)}
  for name, (width, height) in sizes.items():
    path = tmp_path / "photos" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(smooth(width, height), "JPEG"))
  fields = {"name": "folder", "dir": str(tmp_path / "photos"), "eval_split": "."}
  fields |= {"size": 64, "train_split": "."}
  prepare(tmp_path / "jpegs", form="jpeg", **fields)
  with pytest.raises(ConfigError, match=r"not quite.*data\.lossy=True"):
    data.build(config(prepared=str(tmp_path / "jpegs"), **fields))
  fields = (fields, {"prepared": str(tmp_path / "jpegs"), "lossy": True, **fields})
  direct, ours = (data.build(config(**f)).train for f in fields)
  for i in range(len(sizes)):
    x, y = (source.codecs(64)[0].decode(source[i]) for source in (direct, ours))
    fits = max(sizes[direct.path(i).removesuffix(".jpg")]) <= 64
    near = {"atol": 0 if fits else 12, "err_msg": direct.path(i)}
    np.testing.assert_allclose(y["image"].astype(int), x["image"], rtol=0, **near)
    assert tuple(y["extent"]) == tuple(x["extent"])
    assert y["aspect"] == np.float32(x["aspect"])


def everything(folder):
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.np[yz]")}


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_what_was_stopped_goes_on_and_ends_the_same(
  form, photos, tmp_path, small_shards, monkeypatch
):
  fields = {"form": form, "name": "folder", "dir": str(photos)}
  prepare(tmp_path / "whole", **fields)
  written, write_shard = [], canvases.write_shard

  def stopped(folder, layout, number, rows):
    if len(written) == 2:  # dies in the midst of the third
      (folder / f"{number:05d}.npy.part").write_bytes(b"half")
      raise KeyboardInterrupt
    written.append(number)
    write_shard(folder, layout, number, rows)

  monkeypatch.setattr(canvases, "write_shard", stopped)
  with pytest.raises(KeyboardInterrupt):
    prepare(tmp_path / "stopped", **fields)
  lossy = {"lossy": True, "prepared": str(tmp_path / "stopped")}
  with pytest.raises(ConfigError, match="missing, as where the preparing was stopped"):
    data.build(config(size=SIZE, name="folder", dir=str(photos), **lossy))
  written.clear()

  def counted(folder, layout, number, rows):
    written.append(f"{folder.name}/{number}")
    write_shard(folder, layout, number, rows)

  monkeypatch.setattr(canvases, "write_shard", counted)
  prepare(tmp_path / "stopped", **fields)
  assert written == ["train/2", "eval/0"]
  assert everything(tmp_path / "stopped") == everything(tmp_path / "whole")
  assert not list((tmp_path / "stopped").rglob("*.part"))


def cut(folder):
  os.truncate(folder / "00001.npy", 300)


def lose_a_file(folder):
  (folder / "00001.npy").unlink()


def cut_the_index(folder):
  index = folder / "00001.npz"
  os.truncate(index, index.stat().st_size // 2)


def scramble_the_index(folder):
  index = folder / "00001.npz"
  damaged = bytearray(index.read_bytes())
  damaged[200] ^= 0xFF  # in the numbers, which a checksum guards
  index.write_bytes(damaged)


def turn_a_bit(folder):
  with (folder / "00001.npy").open("r+b") as file:
    file.seek(500)
    byte = file.read(1)
    file.seek(500)
    file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(
  "damage", [cut, lose_a_file, cut_the_index, scramble_the_index, turn_a_bit]
)
def test_a_damaged_file_is_named_and_made_anew(
  damage, photos, tmp_path, small_shards, capsys
):
  fields = {"name": "folder", "dir": str(photos)}
  prepare(tmp_path / "canvases", **fields)
  whole = everything(tmp_path / "canvases")
  damage(tmp_path / "canvases" / "train")
  if damage is not turn_a_bit:  # which is found where every byte is read
    with pytest.raises(ConfigError, match=r"^'.*train/00001\.np[yz]' .*whole again$"):
      data.build(config(size=SIZE, prepared=str(tmp_path / "canvases"), **fields))
  capsys.readouterr()
  prepare(tmp_path / "canvases", **fields)
  assert "it was made anew" in capsys.readouterr().out
  assert everything(tmp_path / "canvases") == whole
  prepare(tmp_path / "canvases", **fields)
  assert "anew" not in capsys.readouterr().out


def test_other_data_another_size_and_another_folder_are_refused(photos, tmp_path):
  fields = {"name": "folder", "dir": str(photos)}
  prepare(tmp_path / "canvases", **fields)
  read = {"prepared": str(tmp_path / "canvases"), **fields}
  with pytest.raises(ConfigError, match=r"canvases of 8 pixels.*set data\.size=8"):
    data.build(config(size=16, **read))
  with pytest.raises(ConfigError, match="holds no canvases"):
    data.build(config(size=SIZE, **(read | {"prepared": str(photos)})))
  manifest = prepared.read(tmp_path / "canvases")
  with pytest.raises(ConfigError, match="of other size; name another folder"):
    preparing.begin(tmp_path / "canvases", {**manifest, "size": 16})
  write(photos / "b" / "01.png", seed=77)
  with pytest.raises(
    ConfigError, match=r"other data, which differs in train (sizes|con)"
  ):
    data.build(config(size=SIZE, **read))
  with pytest.raises(ConfigError, match="holds canvases of other train"):
    prepare(tmp_path / "canvases", **fields)


def test_canvases_of_another_decoder_are_refused(photos, tmp_path):
  fields = {"name": "folder", "dir": str(photos)}
  prepare(tmp_path / "canvases", **fields)
  path = tmp_path / "canvases" / prepared.MANIFEST
  manifest = json.loads(path.read_text())
  manifest["decoder"]["pillow"] = "1.0"
  path.write_text(json.dumps(manifest))
  with pytest.raises(ConfigError, match="of other decoder"):  # half by each
    prepare(tmp_path / "canvases", **fields)
  manifest["decoder"]["canvas"] = 0
  path.write_text(json.dumps(manifest))
  with pytest.raises(ConfigError, match="decoded in another way"):
    data.build(config(size=SIZE, prepared=str(path.parent), **fields))


def test_two_at_once_are_refused(photos, tmp_path):
  lock = Lock(tmp_path / "canvases")
  try:
    with pytest.raises(ConfigError, match="belongs to a run that is under way"):
      prepare(tmp_path / "canvases", name="folder", dir=str(photos))
  finally:
    lock.release()


def test_several_processes_are_refused(photos, tmp_path, monkeypatch):
  monkeypatch.setattr("jax.process_count", lambda: 2)
  with pytest.raises(ConfigError, match="by one process, and these are 2"):
    prepare(tmp_path / "canvases", name="folder", dir=str(photos))


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(
  photos, tmp_path, monkeypatch
):
  def full(_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(os, "fsync", full)
  with monkeypatch.context() as m:
    m.setattr("ssljax.runs.lock.Lock._sign", lambda _: None)
    with pytest.raises(runs.WriteError, match="No space left on device"):
      prepare(tmp_path / "canvases", name="folder", dir=str(photos))
  assert not list((tmp_path / "canvases").rglob("*.part"))


def test_a_disk_without_room_is_refused_before_anything_is_decoded(
  photos, tmp_path, monkeypatch
):
  free = {"free": 100}
  monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), free))
  with pytest.raises(ConfigError, match=r"GB left; name another.*prepare\.form=jpeg"):
    prepare(tmp_path / "canvases", name="folder", dir=str(photos))


def test_sounds_are_no_pictures(tmp_path):
  with pytest.raises(ConfigError, match="has no pictures to prepare"):
    prepare(tmp_path / "canvases", name="tones")


def test_a_canvas_that_goes_while_it_is_read_is_named(photos, tmp_path):
  fields = {"name": "folder", "dir": str(photos)}
  prepare(tmp_path / "canvases", **fields)
  source = data.build(config(size=SIZE, prepared=str(tmp_path / "canvases"), **fields))
  file = tmp_path / "canvases" / "train" / "00000.npy"
  os.truncate(file, file.stat().st_size - 7)
  with pytest.raises(UnreadableError, match="ends 7 bytes too soon"):
    source.train.codecs(SIZE)[0].decode(source.train[len(source.train) - 1])
  file.unlink()
  with pytest.raises(UnreadableError, match="No such file"):
    source.train.codecs(SIZE)[0].decode(source.train[1])


def test_a_picture_that_is_turned_is_not_taken_as_it_is(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  turned = encode(Image.fromarray(smooth(8, 6)), "JPEG", exif=exif)
  assert as_stored(turned, 8) is None
  plain = encode(smooth(8, 6), "JPEG")
  assert as_stored(plain, 8) == plain
  assert as_stored(plain, 7) is None
