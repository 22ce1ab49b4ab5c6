import numpy as np
import pytest
from pictures import config, smooth
from PIL import Image

from ssljax import data
from ssljax.data.arrays import Stacked
from ssljax.data.decode import decode

PLANES = (("rgb", 3), ("depth", 1), ("normals", 3), ("segmentation", 1))


def scenes(n, side=12):
  """Of NYU's kinds: 8 bits, millimetres, unit vectors, numbers of classes."""
  rng = np.random.default_rng(n)
  normals = rng.normal(size=(n, side, side, 3)).astype(np.float32)
  return {
    "rgb": np.stack([smooth(side, side, i) for i in range(n)]),
    "depth": rng.integers(500, 9000, (n, side, side)).astype(np.uint16),
    "normals": normals / np.linalg.norm(normals, axis=3, keepdims=True),
    "segmentation": rng.integers(0, 40, (n, side, side), np.uint8),
  }


def build(root, **fields):
  return data.build(config(name="arrays", dir=str(root), planes=PLANES, **fields))


def first_batch(source, size):
  """The first examples as the host hands them over."""
  batches = data.eval_batches(source, 3, size=size, in_memory=False, workers=1)
  return next(batches)


def in_bytes(x, low, high):
  return np.round(255 * (np.float64(x) - low) / (high - low))


def test_planes_of_a_file_are_the_channels_of_one_picture(tmp_path):
  train, val = scenes(6), scenes(3)
  np.savez(tmp_path / "train.npz", **train, label=np.arange(6) % 2)
  np.savez(tmp_path / "val.npz", **val, label=np.zeros(3, int))
  splits = build(tmp_path)
  assert [len(s) for s in splits] == [6, 3]
  assert splits.train.class_names == splits.eval.class_names == ("0", "1")
  batch = first_batch(splits.eval, 12)
  assert splits.eval.spec(12)["image"] == ((12, 12, 8), "uint8")
  image = batch["image"]
  assert (image.shape, image.dtype) == ((3, 12, 12, 8), np.uint8)
  np.testing.assert_array_equal(image[..., :3], val["rgb"])
  # By the ranges of the training split, beyond which is cut.
  low, high = train["depth"].min(), train["depth"].max()
  depth = np.clip(in_bytes(val["depth"], low, high), 0, 255)
  np.testing.assert_array_equal(image[..., 3], depth)
  low, high = train["normals"].min(), train["normals"].max()
  normals = np.clip(in_bytes(val["normals"], low, high), 0, 255)
  np.testing.assert_array_equal(image[..., 4:7], normals)
  np.testing.assert_array_equal(image[..., 7], val["segmentation"])
  np.testing.assert_array_equal(batch["label"], 0)


def test_classes_are_not_averaged_and_colours_are_as_of_any_picture():
  example = {"planes": {k: x[0] for k, x in scenes(1).items()}}
  codec = Stacked(5, PLANES, {"depth": (0, 9000), "normals": (-1, 1)})
  image = codec.decode(example)["image"]
  np.testing.assert_array_equal(image[..., :3], decode(example["planes"]["rgb"], 5)[0])
  assert set(image[..., 7].flat) <= set(example["planes"]["segmentation"].flat)
  nearest = Image.fromarray(example["planes"]["segmentation"])
  nearest = nearest.resize((5, 5), Image.Resampling.NEAREST)
  np.testing.assert_array_equal(image[..., 7], nearest)


def test_what_is_no_number_becomes_0():
  x = np.float32([[np.nan, 2], [np.inf, 1]])
  codec = Stacked(2, (("depth", 1),), {"depth": (1, 2)})
  image = codec.decode({"planes": {"depth": x}})["image"][..., 0]
  np.testing.assert_array_equal(image, [[0, 255], [255, 0]])


def write_folders(root, n, side=12):
  """The same scenes as files: PNG of 8 and 16 bits, TIFF of floats, a palette."""
  arrays = scenes(n, side)
  for name, _ in PLANES:
    (root / name).mkdir(parents=True)
  for i in range(n):
    Image.fromarray(arrays["rgb"][i]).save(root / "rgb" / f"{i}.png")
    Image.fromarray(arrays["depth"][i]).save(root / "depth" / f"{i}.png")
    Image.fromarray(np.uint8(127 * arrays["normals"][i] + 128)).save(
      root / "normals" / f"{i}.png"
    )
    palette = Image.fromarray(arrays["segmentation"][i])
    palette.putpalette(np.arange(768, dtype=np.uint8).tobytes())
    palette.save(root / "segmentation" / f"{i}.png")
  return arrays


def test_planes_in_folders_are_put_together_by_name(tmp_path, caplog):
  arrays = write_folders(tmp_path, 3)
  Image.new("RGB", (4, 4)).save(tmp_path / "rgb" / "lonely.png")
  splits = build(tmp_path)
  assert (len(splits.train), splits.eval, splits.train.num_classes) == (3, None, 0)
  assert "Left out 1 files" in caplog.text
  image = first_batch(splits.train, 12)["image"]
  np.testing.assert_array_equal(image[..., :3], arrays["rgb"])
  depth = arrays["depth"]
  np.testing.assert_array_equal(
    image[..., 3], in_bytes(depth, depth.min(), depth.max())
  )
  np.testing.assert_array_equal(image[..., 7], arrays["segmentation"])


def test_a_broken_file_is_replaced_by_the_next_scene(tmp_path):
  write_folders(tmp_path, 3)
  (tmp_path / "depth" / "0.png").write_bytes(b"hello")
  splits = build(tmp_path)
  assert first_batch(splits.train, 12)["index"].tolist() == [1, 1, 2]


def test_splits_are_folders_or_files_and_a_file_alone_is_trained_on(tmp_path):
  write_folders(tmp_path / "train", 3)
  write_folders(tmp_path / "test", 2)
  assert [len(s) for s in build(tmp_path)] == [3, 2]
  np.savez(tmp_path / "more.npz", **scenes(4))
  assert [len(s) for s in build(tmp_path, train_split="more")] == [4, 2]
  alone = build(tmp_path / "more.npz")
  assert (len(alone.train), alone.eval) == (4, None)


def without_depth(root):
  arrays = scenes(2)
  del arrays["depth"]
  np.savez(root / "train.npz", **arrays)


def depth_of_three(root):
  np.savez(root / "train.npz", **scenes(2) | {"depth": scenes(2)["rgb"]})


def fewer_depths(root):
  np.savez(root / "train.npz", **scenes(2) | {"depth": scenes(1)["depth"]})


def odd_labels(root):
  np.savez(root / "train.npz", **scenes(2), label=np.zeros(3, int))


def no_file_of_arrays(root):
  (root / "train.npz").write_bytes(b"hello")


def no_examples(root):
  np.savez(root / "train.npz", **scenes(1) | {"rgb": np.zeros((0, 4, 4, 3))})


def one_number(root):
  np.savez(root / "train.npz", **scenes(1) | {"rgb": np.array(3)})


def complex_numbers(root):
  np.savez(root / "train.npz", **scenes(1) | {"rgb": np.zeros((1, 4, 4, 3), complex)})


def cut(root):
  np.savez(root / "train.npz", **scenes(2))
  whole = (root / "train.npz").read_bytes()
  (root / "train.npz").write_bytes(whole[: len(whole) // 2])


def damaged(root):
  np.savez_compressed(root / "train.npz", **scenes(2))
  whole = bytearray((root / "train.npz").read_bytes())
  whole[100:300] = bytes(200)
  (root / "train.npz").write_bytes(whole)


def lone_array(root):
  np.save(root / "a.npy", scenes(1)["rgb"])


def pickled(root):
  np.savez(root / "train.npz", **scenes(1) | {"rgb": np.array([{}], object)})


def no_normals(root):
  write_folders(root, 1)
  (root / "normals" / "0.png").unlink()
  (root / "normals").rmdir()


def other_names(root):
  write_folders(root, 1)
  (root / "depth" / "0.png").rename(root / "depth" / "zero.png")


ERRORS = [
  ({"planes": ()}, None, r"data.planes=\(\) must be pairs .* try \(\('rgb', 3\)"),
  ({"planes": ("rgb", "depth")}, None, "data.planes.* must be "),
  ({"planes": (("rgb", 0),)}, None, "data.planes.* must be "),
  ({"dir": ""}, None, "data.dir='' is neither a folder nor a file"),
  ({"dir": "/none"}, None, "data.dir='/none' is neither a folder nor a file"),
  ({"train_split": "x"}, without_depth, "train_split='x' .* which has train.npz"),
  ({}, without_depth, "has no 'depth'; it has rgb, normals, segmentation"),
  ({}, depth_of_three, r"'depth' of .* is \[2, 12, 12, 3\] and must be \[2,H,W,1\]"),
  ({}, fewer_depths, r"'depth' of .* is \[1, 12, 12\] and must be \[2,H,W,1\]"),
  ({}, odd_labels, r"'label' of .* is \[3\] and must be \[2\]"),
  ({}, no_examples, r"'rgb' of .* is \[0, 4, 4, 3\]: empty"),
  ({}, one_number, r"'rgb' of .* is \[\] and must be \[0,H,W,3\]"),
  ({}, complex_numbers, "'rgb' of .* is of type complex128"),
  ({}, cut, "is no file of plain arrays"),
  ({}, damaged, "is no file of plain arrays"),
  ({"dir": "{root}/a.npy"}, lone_array, "is no file of plain arrays"),
  ({}, no_file_of_arrays, "is no file of plain arrays"),
  ({}, pickled, "is no file of plain arrays"),
  ({}, no_normals, "no folder 'normals' in .*, which has depth, rgb, segmentation"),
  ({}, other_names, "no picture of .* is in all of rgb, depth, normals, segmentation"),
  ({"planes": (("rgb", 2),)}, other_names, "'rgb' has 2 channels, and a file 1 or 3"),
]


@pytest.mark.parametrize(("fields", "arrange", "sentence"), ERRORS)
def test_a_mistake_is_named_in_one_sentence(tmp_path, fields, arrange, sentence):
  if arrange:
    arrange(tmp_path)
  fields = {"name": "arrays", "dir": "{root}", "planes": PLANES} | fields
  fields["dir"] = fields["dir"].format(root=tmp_path)
  with pytest.raises(ValueError, match=sentence) as error:
    data.build(config(**fields))
  assert "\n" not in str(error.value)


RGB = (("rgb", 3),)


def labelled(root, part, written, n=6):
  np.savez(root / f"{part}.npz", rgb=scenes(n)["rgb"], label=np.array(written))


def read(root):
  return data.build(config(name="arrays", dir=str(root), planes=RGB))


@pytest.mark.parametrize(
  ("written", "labels", "classes"),
  [
    ([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2], "0 1 2"),
    ([0.0, 1.0, 2.0, 0.0, 1.0, np.nan], [0, 1, 2, 0, 1, -1], "0 1 2"),
    ([0, 1, -1, -1, 1, -1], [0, 1, -1, -1, 1, -1], "0 1"),
    ([[0], [1], [1], [0], [1], [1]], [0, 1, 1, 0, 1, 1], "0 1"),
    ([True, False, True, True, True, True], [1, 0, 1, 1, 1, 1], "False True"),
    (["dog", "cat", "", "dog", "dog", "cat"], [1, 0, -1, 1, 1, 0], "cat dog"),
    ([b"dog", b"cat", b"", b"caf\xe9", b"dog", b"cat"], [2, 1, -1, 0, 2, 1], None),
    (["dog", "cat", "-1", "NaN", " dog ", "nan"], [1, 0, -1, -1, 1, -1], "cat dog"),
    ([b"dog", b"cat", b"-1", b"nan", b" dog", b"-1"], [1, 0, -1, -1, 1, -1], "cat dog"),
    (["1", "0", "-1", "10", "0", "0"], [1, 0, -1, 2, 0, 0], "0 1 10"),
    (["-1", "nan", "", "-1", "", "NAN"], [-1] * 6, ""),
    ([0, 5, 2, 0, 5, 2], [0, 5, 2, 0, 5, 2], "0 1 2 3 4 5"),
    (np.uint8([0, 1, 0, 1, 0, 1]), [0, 1, 0, 1, 0, 1], "0 1"),
    ([-1, -1, -1, -1, -1, -1], [-1] * 6, ""),
  ],
)
def test_labels_are_numbers_or_names_of_any_type(tmp_path, written, labels, classes):
  labelled(tmp_path, "train", written)
  train = read(tmp_path).train
  assert train.labels == labels
  names = ("caf\\xe9", "cat", "dog") if classes is None else tuple(classes.split())
  assert train.class_names == names
  assert [type(example["label"]) for example in train] == [int] * 6


def test_what_labels_lack_is_said(tmp_path, caplog):
  labelled(tmp_path, "train", [0, 2, 5, -1, -1, 0])
  read(tmp_path)
  assert "Without a label" in caplog.text
  assert "2 of 6 examples" in caplog.text
  assert "Classes without an example" in caplog.text
  assert "'1', '3', '4'" in caplog.text


@pytest.mark.parametrize(
  ("names", "said"),
  [
    ("labels depth", "'depth', 'labels'; 'labels': did you mean label?"),
    ("Label", "'Label'; 'Label': did you mean label?"),
    ("depth y", "'depth', 'y'; 'y': did you mean label?"),
    ("label targets", "'targets'\n"),
    ("depth", "'depth'\n"),
    ("label", ""),
  ],
)
def test_arrays_that_are_not_read_are_said(tmp_path, caplog, names, said):
  arrays = {name: np.zeros(2, int) for name in names.split()}
  np.savez(tmp_path / "train.npz", rgb=scenes(2)["rgb"], **arrays)
  read(tmp_path)
  assert caplog.text.count("Not read, in ") == bool(said)
  assert not said or f"train.npz: {said}" in caplog.text


WRONG = [
  ([0, 0.5, 1, 0, 1, 1], r"0.5 in 'label' of .* is no label; classes are numbered"),
  ([0, np.inf, 1, 0, 1, 1], "inf in 'label' .* is no label"),
  ([0, -2, 1, 0, 1, 1], "-2 in 'label' .* is no label"),
  ([0, 10**9, 1, 0, 1, 1], "holds 3 classes and numbers up to 1000000000; number them"),
  ([1j] * 6, "is of type complex128; labels are whole numbers or names"),
]


@pytest.mark.parametrize(("written", "sentence"), WRONG)
def test_what_is_no_label_is_named(tmp_path, written, sentence):
  labelled(tmp_path, "train", written)
  with pytest.raises(ValueError, match=sentence):
    read(tmp_path)


def test_labels_of_the_evaluation_split_are_those_of_the_training_split(tmp_path):
  labelled(tmp_path, "train", ["dog", "cat"] * 3)
  labelled(tmp_path, "val", ["cat", "", "dog"], 3)
  assert read(tmp_path).eval.labels == [0, -1, 1]
  labelled(tmp_path, "val", ["cat", "emu", "dog"], 3)
  with pytest.raises(ValueError, match=r"'emu', in .*, is none of the 2 classes"):
    read(tmp_path)
  labelled(tmp_path, "train", [0, 1] * 3)
  labelled(tmp_path, "val", ["1", "0", "1"], 3)
  assert read(tmp_path).eval.labels == [1, 0, 1]
  labelled(tmp_path, "val", [0, 1, 7], 3)
  with pytest.raises(ValueError, match=r"label '7', in .*, is none of the 2 classes"):
    read(tmp_path)


def test_planes_of_8_bits_to_train_on_are_not_of_others_to_evaluate_on(tmp_path):
  labelled(tmp_path, "train", [0, 1] * 3)
  np.savez(tmp_path / "val.npz", rgb=scenes(2)["rgb"] / 255.0)
  with pytest.raises(ValueError, match="'rgb' is of type float64, and of 8 bits in"):
    first_batch(read(tmp_path).eval, 12)


def test_planes_in_folders_are_files_of_any_name_and_links_are_followed(
  tmp_path, caplog
):
  arrays = write_folders(tmp_path / "real", 3)
  (tmp_path / "Train").mkdir()
  for name, _ in PLANES:
    (tmp_path / "Train" / name).mkdir()
    (tmp_path / "Train" / name / "link").symlink_to(tmp_path / "real" / name)
    (tmp_path / "Train" / name / "notes.txt").write_text("no picture")
  (tmp_path / "Train" / "rgb" / "link" / ".1.png").write_text("hidden")
  Image.new("RGB", (4, 4)).save(tmp_path / "real" / "rgb" / "2.jpg")
  train = build(tmp_path).train
  image = first_batch(train, 12)["image"]
  np.testing.assert_array_equal(image[..., :3], arrays["rgb"])
  assert "1 hidden, 1 of .txt" in caplog.text
  assert "as others have their names: 1" in caplog.text
