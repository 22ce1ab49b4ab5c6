"""Scenes to detect in: scikit-learn's digits on canvases, annotated as COCO has it.

    python -m examples.detection.scenes scenes

writes `scenes/unlabelled/`, pictures alone, and `scenes/train/` and `scenes/test/`,
whose boxes stand in `scenes/annotations/instances_train.json` and `..._test.json`. No
digit of a test scene is in another.
"""

import argparse
import json
import pathlib

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 64  # pixels of a scene
COUNTS = {"unlabelled": 2000, "train": 100, "test": 200}  # scenes


def scene(rng, images, labels):
  """Draws a scene u8 [SIDE,SIDE,3] of one to three digits -> it, boxes, labels.

  A box is [left, top, width, height] of what can be seen of a digit.
  """
  x = np.clip(rng.uniform(0, 256, 3) + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255)
  taken = np.zeros((SIDE, SIDE), bool)
  boxes, names = [], []
  for _ in range(rng.integers(1, 4)):
    number, size = rng.integers(len(images)), int(rng.integers(18, 33))
    ink = Image.fromarray(images[number]).resize((size, size), Image.BICUBIC)
    ink = np.asarray(ink, np.float32)[..., None] / 255
    rows, columns = np.nonzero(ink[..., 0] > 0.3)
    for _ in range(20):  # places tried
      top, left = rng.integers(0, SIDE - size + 1, 2)
      place = slice(top, top + size), slice(left, left + size)
      if not taken[place].any():
        break
    else:
      continue
    taken[place] = True
    paper = x[place].mean((0, 1))
    colour = (paper + rng.uniform(80, 176, 3) * rng.choice([-1, 1])) % 256
    x[place] = (1 - ink) * x[place] + ink * colour
    first = np.array([left + columns.min(), top + rows.min()])
    last = np.array([left + columns.max(), top + rows.max()]) + 1
    boxes.append([*map(int, first), *map(int, last - first)])
    names.append(int(labels[number]))
  return x.astype(np.uint8), boxes, names


def write(folder, seed=0, counts=COUNTS):
  """Writes all splits of scenes to a folder."""
  images, labels = load_digits(return_X_y=True)
  images = (images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
  rng = np.random.default_rng(seed)
  held_out = np.arange(len(images)) % 5 == 0
  (folder / "annotations").mkdir(parents=True, exist_ok=True)
  categories = [{"id": n + 1, "name": str(n)} for n in range(10)]
  for split, count in counts.items():
    of = held_out if split == "test" else ~held_out
    (folder / split).mkdir(exist_ok=True)
    coco = {"images": [], "annotations": [], "categories": categories}
    for i in range(count):
      x, boxes, names = scene(rng, images[of], labels[of])
      file = f"{i:05d}.png"
      Image.fromarray(x).save(folder / split / file)
      size = {"file_name": file, "height": SIDE, "width": SIDE}
      coco["images"].append({"id": i + 1, **size})
      for box, name in zip(boxes, names, strict=True):
        row = {"image_id": i + 1, "category_id": name + 1, "bbox": box, "iscrowd": 0}
        row |= {"id": len(coco["annotations"]) + 1, "area": box[2] * box[3]}
        coco["annotations"].append(row)
    if split != "unlabelled":
      path = folder / "annotations" / f"instances_{split}.json"
      path.write_text(json.dumps(coco))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--seed", type=int, default=0)
  arguments = parser.parse_args()
  write(arguments.folder, arguments.seed)
