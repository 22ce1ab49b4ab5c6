"""Trees drawn at random: whatever lies there is read, or refused in a sentence."""

import contextlib
import os

import numpy as np
import pytest
from pictures import config, encode, smooth

from ssljax import data
from ssljax.data import places

FOLDERS = (
  *("train", "Train", "training", "val", "Valid", "test", "Testing", "dev"),
  *("cat", "dog", "Cat", ".hidden", "unlabelled", "train2017", os.fsdecode(b"\xe9")),
)
DEEP = encode(smooth(4, 4)[..., 0].astype(np.uint16) * 16, "PNG")
FILES = {
  "a.png": encode(smooth(4, 4)),
  "b.JPG": encode(smooth(4, 4), "JPEG"),
  "c.tif": encode(smooth(4, 4), "TIFF"),
  "d.png": DEEP,
  "e.png": b"",
  "f.png": encode(smooth(9, 9))[:60],
  "g.txt": b"text",
  "h": b"no ending",
  ".i.png": encode(smooth(4, 4)),
}


def grow(rng, folder, depth=3):
  folder.mkdir(exist_ok=True)
  for name in rng.choice(list(FILES), rng.integers(0, 4), replace=False):
    (folder / name).write_bytes(FILES[name])
  for name in rng.choice(FOLDERS, rng.integers(0, 4) if depth else 0, replace=False):
    place = folder / name
    if rng.random() < 0.15:
      targets = [folder, folder.parent, folder / "nothing", *folder.iterdir()]
      place.symlink_to(targets[rng.integers(len(targets))])
    elif not place.is_symlink():
      grow(rng, place, depth - 1)


@pytest.mark.parametrize("seed", range(60))
def test_a_tree_is_read_or_refused_in_a_sentence(tmp_path, seed, caplog):
  rng = np.random.default_rng(seed)
  root = tmp_path / "root"
  grow(rng, root)
  chosen = {}
  if rng.random() < 0.3:
    fields = rng.choice(["train_split", "eval_split"], rng.integers(1, 3), False)
    chosen = {field: str(rng.choice(("train", "cat", "test", "."))) for field in fields}
  splits, sentence = outcome(root, chosen)
  if splits is None:
    assert "\n" not in sentence
    assert sentence.startswith("data.")
    return
  names = splits.train.class_names
  sources = [source for source in splits if source is not None]
  for source in sources:
    check_labels(source, names)
    batches = data.eval_batches(source, 8, size=4, in_memory=False, workers=1)
    with contextlib.suppress(data.DataGoneError):  # every one of them is cut short
      assert sum(batch["mask"].sum() for batch in batches) <= len(source)
  roots = [source.root.resolve() for source in sources]
  pairs = zip(roots, sources, strict=True)
  files = [{os.path.join(root, f) for f in source.files} for root, source in pairs]
  said = "Evaluated on what it is trained on" in caplog.text
  assert said or len(sources) < 2 or not files[0] & files[1]
  split_like = [name for name in names if name.casefold() in places.WORDS]
  if split_like and "train_split" not in chosen:
    assert any(f"'{name}'" in caplog.text for name in split_like)


def outcome(root, chosen):
  try:
    return data.build(config(name="folder", dir=str(root), **chosen)), ""
  except ValueError as error:
    return None, str(error)


def check_labels(source, names):
  assert len(source) > 0
  for file, label in zip(source.files, source.labels, strict=True):
    folder = places.printable(file.split(os.sep)[0])
    assert label == -1 or names[label] == folder
