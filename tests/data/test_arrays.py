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


def pickled(root):
  np.savez(root / "train.npz", rgb=np.array([{}], object))


def no_normals(root):
  write_folders(root, 1)
  (root / "normals" / "0.png").unlink()
  (root / "normals").rmdir()


def other_names(root):
  write_folders(root, 1)
  (root / "depth" / "0.png").rename(root / "depth" / "zero.png")


ERRORS = [
  ({"planes": ()}, None, r"data.planes=\(\) must be pairs .* try \(\('rgb', 3\)"),
  ({"planes": ("rgb", "depth")}, None, "data.planes=.* must be pairs"),
  ({"planes": (("rgb", 0),)}, None, "data.planes=.* must be pairs"),
  ({"dir": ""}, None, "data.dir='' is neither a folder nor a file"),
  ({"dir": "/none"}, None, "data.dir='/none' is neither a folder nor a file"),
  ({"train_split": "x"}, without_depth, "train_split='x' .* which has train.npz"),
  ({}, without_depth, "has no 'depth'; it has rgb, normals, segmentation"),
  ({}, depth_of_three, r"'depth' of .* is \[2, 12, 12, 3\] and must be \[2,H,W,1\]"),
  ({}, fewer_depths, r"'depth' of .* is \[1, 12, 12\] and must be \[2,H,W,1\]"),
  ({}, odd_labels, r"'label' of .* is \[3\] and must be \[2\]"),
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
  fields = {"name": "arrays", "dir": str(tmp_path), "planes": PLANES} | fields
  with pytest.raises(ValueError, match=sentence) as error:
    data.build(config(**fields))
  assert "\n" not in str(error.value)
