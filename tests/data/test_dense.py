"""Pictures with a truth for each pixel: which belong together, and what is refused."""

import re

import numpy as np
import pytest
from pictures import config, smooth, write, write_tfds
from PIL import Image

from ssljax import data
from ssljax.data import dense, tfds
from ssljax.fields import ConfigError


def mask(path, classes):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.asarray(classes, np.uint8)).save(path)


def scenes(root, names, width=12, height=9):
  for i, name in enumerate(names):
    write(root / "images" / f"{name}.png", i, width, height)
    mask(root / "masks" / f"{name}.png", np.full((height, width), i % 3))
  return config(name="folder", dir=str(root))


def opened(c, kind=dense.MASKS):
  return data.with_truth(c, kind)


def test_a_truth_takes_the_value_under_the_centre_of_each_pixel():
  x = np.arange(12).reshape(3, 4)
  np.testing.assert_array_equal(dense.nearest(x, 2), [[1, 3], [9, 11]])
  np.testing.assert_array_equal(dense.nearest(x, 4)[:, 0], [0, 4, 4, 8])
  big = np.asarray(
    Image.fromarray(np.uint8(x)).resize((5, 5), Image.Resampling.NEAREST)
  )
  np.testing.assert_array_equal(dense.nearest(x, 5), big)


def test_masks_go_with_the_pictures_of_their_names(tmp_path):
  names = [f"{split}/{i}" for split, n in (("train", 3), ("val", 2)) for i in range(n)]
  train, test = opened(scenes(tmp_path, names))
  assert [e["truth"].name for e in train] == ["0.png", "1.png", "2.png"]
  assert {e["truth"].parent.name for e in test} == {"val"}
  assert test.path(0) == "val/0.png"
  (batch,) = data.eval_batches(train, 3, size=8, in_memory=False, workers=1)
  assert batch["truth"].shape == (3, 8, 8)
  assert batch["truth"].dtype == np.uint8
  np.testing.assert_array_equal(batch["truth"][:, 0, 0], [0, 1, 2])
  np.testing.assert_array_equal(batch["extent"], [[8, 8]] * 3)
  np.testing.assert_array_equal(dense.check(train), [[0, 0], [1, 1], [2, 2]])


def test_without_splits_a_tenth_is_held_out_by_the_names(tmp_path):
  splits = opened(scenes(tmp_path, [f"{i:02d}" for i in range(20)]))
  train, test = ([e["image"].stem for e in split] for split in splits)
  assert (len(train), len(test)) == (18, 2)
  assert not set(train) & set(test)
  for split in splits:
    assert all(e["image"].stem == e["truth"].stem for e in split)


def test_an_identity_knows_its_masks(tmp_path):
  c = scenes(tmp_path, ["train/0", "val/0"])
  before = data.identify(opened(c).train)
  mask(tmp_path / "masks/train/0.png", np.random.default_rng(0).integers(0, 9, (9, 12)))
  words = data.differences(before, data.identify(opened(c).train))
  assert any("masks" in word for word in words)


def test_a_palette_and_grey_written_as_colours_are_numbers(tmp_path):
  x = np.uint8([[0, 1], [2, 255]])
  palette = Image.fromarray(x).convert("P")
  palette.putpalette([5, 6, 7] * 256)
  palette.save(tmp_path / "p.png")
  Image.fromarray(np.stack([x] * 3, -1)).save(tmp_path / "rgb.png")
  Image.fromarray(x.astype(np.uint16)).save(tmp_path / "deep.png")
  for name in ("p", "rgb", "deep"):
    found = dense._read(dense.MASKS, {"truth": tmp_path / f"{name}.png"})
    np.testing.assert_array_equal(found, x)
  Image.fromarray(x == 1).save(tmp_path / "two.png")
  found = dense._read(dense.MASKS, {"truth": tmp_path / "two.png"})
  np.testing.assert_array_equal(found, x == 1)


def test_depths_are_16_bits_or_numpys_and_zero_where_unknown(tmp_path):
  c = scenes(tmp_path, ["train/0", "train/1", "val/0"])
  (tmp_path / "depth" / "train").mkdir(parents=True)
  (tmp_path / "depth" / "val").mkdir()
  deep = np.full((9, 12), 1234, np.uint16)
  Image.fromarray(deep).save(tmp_path / "depth/train/0.png")
  Image.fromarray(deep).save(tmp_path / "depth/val/0.png")
  metres = np.full((9, 12), 2.5, np.float32)
  metres[0, 0] = np.nan
  np.save(tmp_path / "depth/train/1.npy", metres)
  train, test = opened(c, dense.DEPTHS)
  (batch,) = data.eval_batches(train, 2, size=9, in_memory=False, workers=1)
  assert batch["truth"].dtype == np.float32
  assert (batch["truth"][0] == 1234).all()
  assert batch["truth"][1, 0, 0] == 0
  np.testing.assert_array_equal(dense.check(train), [[1234, 1234], [0, 2.5]])
  mask(tmp_path / "depth/val/0.png", np.zeros((9, 12)))
  with pytest.raises(
    ConfigError, match=r"val/0\.png' is a picture of mode L; depths a"
  ):
    dense.check(test)


def test_a_picture_that_was_turned_is_compared_upright(tmp_path):
  c = scenes(tmp_path, ["train/0", "val/0"])
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.fromarray(smooth(9, 12)).save(tmp_path / "images/train/0.jpg", exif=exif)
  (tmp_path / "images/train/0.png").unlink()
  train, _ = opened(c)
  assert dense.check(train).shape == (1, 2)


def spoil_masks(root):
  (root / "masks/val/0.png").unlink()


def spoil_size(root):
  mask(root / "masks/val/0.png", np.zeros((4, 6)))


def spoil_mode(root):
  Image.fromarray(smooth(12, 9)).save(root / "masks/val/0.png")


def spoil_file(root):
  (root / "masks/val/0.png").write_bytes(b"no picture")


def spoil_twin(root):
  mask(root / "masks/val/0.bmp", np.zeros((9, 12)))


def spoil_folder(root):
  (root / "masks").rename(root / "labels")


def spoil_deep(root):
  Image.fromarray(np.full((9, 12), 300, np.uint16)).save(root / "masks/val/0.png")


@pytest.mark.parametrize(
  ("spoil", "sentence"),
  [
    (spoil_masks, r"1 of 1 pictures in .*images' have no mask in .*: 'val/0.png'; it"),
    (spoil_size, r"the mask of 'val/0.png' is 6 x 4 pixels, and the picture 12 x 9; "),
    (spoil_mode, r"the mask '.*masks/val/0.png' is coloured, and a mask is a picture"),
    (spoil_file, r"the mask '.*masks/val/0.png' cannot be read: UnidentifiedImageErr"),
    (spoil_twin, r"masks' has 'val/0.bmp', 'val/0.png' for one picture; keep one"),
    (spoil_folder, r"has no folder masks; it needs images/ and masks/, with a mask of"),
    (spoil_deep, r"the mask '.*val/0.png' has the number 300; classes are 0 to 254,"),
  ],
)
def test_what_is_wrong_with_masks_is_said(tmp_path, spoil, sentence):
  c = scenes(tmp_path, ["train/0", "val/0"])
  spoil(tmp_path)
  with pytest.raises(ConfigError, match=sentence) as raised:
    [dense.check(split) for split in opened(c)]
  assert "\n" not in str(raised.value)


def test_what_has_no_truths_is_said(tmp_path):
  with pytest.raises(
    ConfigError, match=r"data\.name='digits' has no mask of a picture;"
  ):
    opened(config(name="digits"))
  with pytest.raises(ConfigError, match=re.escape("data.dir is empty; name the fold")):
    opened(config(name="folder"))
  scenes(tmp_path, ["0"])
  with pytest.raises(ConfigError, match="has a single picture; it takes one to learn"):
    opened(config(name="folder", dir=str(tmp_path)))
  write_tfds(tmp_path / "tfds", "array_record", {"train": 3, "test": 3}, shards=1)
  tiny = config(name="tiny", dir=str(tmp_path / "tfds"))
  with pytest.raises(ConfigError, match=r"'tiny/1\.0\.0' has no depth among its featu"):
    opened(tiny, dense.DEPTHS)


def test_a_feature_of_tfds_is_a_truth(tmp_path, monkeypatch):
  """Of the pictures themselves, here: they are grey ones, written as colours."""
  write_tfds(tmp_path, "array_record", {"train": 5, "test": 3}, shards=1)
  monkeypatch.setattr(dense, "MASKS", dense.MASKS._replace(features=("image",)))
  train, test = opened(config(name="tiny", dir=str(tmp_path)), dense.MASKS)
  assert isinstance(train, tfds.Records)
  (batch,) = data.eval_batches(test, 3, size=4, in_memory=False, workers=1)
  np.testing.assert_array_equal(batch["truth"][:, 0, 0], [0, 1, 2])
  assert batch["label"].tolist() == [-1] * 3
  np.testing.assert_array_equal(dense.check(train)[:, 1], range(5))
