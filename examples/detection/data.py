"""Pictures and their boxes out of a folder as COCO or as Pascal VOC lays it out."""

import contextlib
import io
import json
import pathlib
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

MEASURES = ("AP", "AP50", "AP75")


class Box(NamedTuple):
  """What is to be found: its corners in pixels, and its class."""

  corners: tuple[float, float, float, float]  # left, top, right, bottom
  name: str
  crowd: bool = False  # COCO: of many at once; not learned, not judged
  difficult: bool = False  # VOC: learned, not judged


class Picture(NamedTuple):
  """A file and all that is in it."""

  file: pathlib.Path
  boxes: tuple[Box, ...]


def read(source: str) -> list[Picture]:
  """Reads FOLDER:SPLIT, such as VOCdevkit/VOC2007:trainval or coco:train2017.

  VOC has Annotations/, JPEGImages/ and ImageSets/Main/SPLIT.txt; COCO has
  annotations/instances_SPLIT.json and pictures in SPLIT/.
  """
  name, _, split = source.rpartition(":")
  folder = pathlib.Path(name).expanduser()
  if not name or not folder.is_dir():
    raise SystemExit(f"{source!r} must be FOLDER:SPLIT, of a folder that is there")
  is_voc = (folder / "Annotations").is_dir()
  try:
    return list((_voc if is_voc else _coco)(folder, split))
  except FileNotFoundError as error:
    raise SystemExit(f"{source!r}: {error.filename} is not there") from error


def _voc(folder: pathlib.Path, split: str) -> Iterator[Picture]:
  for line in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
    root = xml.etree.ElementTree.parse(folder / "Annotations" / f"{line}.xml")
    boxes = []
    for found in root.iter("object"):
      edges = ("xmin", "ymin", "xmax", "ymax")
      left, top, right, bottom = (float(found.findtext(f"bndbox/{e}")) for e in edges)
      difficult = found.findtext("difficult") == "1"
      corners = (left - 1, top - 1, right, bottom)  # the first pixel is 1
      boxes.append(Box(corners, found.findtext("name"), difficult=difficult))
    file = root.findtext("filename") or f"{line}.jpg"
    yield Picture(folder / "JPEGImages" / file, tuple(boxes))


def _coco(folder: pathlib.Path, split: str) -> Iterator[Picture]:
  found = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
  names = {row["id"]: row["name"] for row in found["categories"]}
  boxes: dict[int, list[Box]] = {row["id"]: [] for row in found["images"]}
  for row in found["annotations"]:
    left, top, width, height = row["bbox"]
    if width > 0 and height > 0:
      corners = (left, top, left + width, top + height)
      box = Box(corners, names[row["category_id"]], bool(row.get("iscrowd")))
      boxes[row["image_id"]].append(box)
  for row in found["images"]:
    yield Picture(folder / split / row["file_name"], tuple(boxes[row["id"]]))


class Examples(torch.utils.data.Dataset):
  """Pictures f32 [3,H,W] in 0..1 with "boxes" [n,4] and "labels" [n], from 1."""

  def __init__(self, pictures: Sequence[Picture], names: Sequence[str], flip: float):
    self.pictures, self.flip = pictures, flip
    self.numbers = {name: i + 1 for i, name in enumerate(names)}

  def __len__(self) -> int:
    return len(self.pictures)

  def __getitem__(self, i: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    picture = self.pictures[i]
    x = np.asarray(Image.open(picture.file).convert("RGB"), np.float32) / 255
    kept = [box for box in picture.boxes if not box.crowd]
    boxes = np.array([box.corners for box in kept], np.float32).reshape(-1, 4)
    if torch.rand(()) < self.flip:
      x, boxes = x[:, ::-1], boxes[:, [2, 1, 0, 3]]
      boxes[:, [0, 2]] = x.shape[1] - boxes[:, [0, 2]]
    target = {
      "boxes": torch.from_numpy(boxes),
      "labels": torch.tensor([self.numbers[box.name] for box in kept]).long(),
    }
    return torch.from_numpy(x.transpose(2, 0, 1).copy()), target


def score(
  pictures: Sequence[Picture],
  names: Sequence[str],
  found: Sequence[Mapping[str, torch.Tensor]],
) -> dict[str, float]:
  """Computes AP, AP50 and AP75 in percent, by pycocotools, of what was `found`.

  That is "boxes" [n,4], "labels" [n], "scores" [n] a picture.
  """
  numbers = {name: i + 1 for i, name in enumerate(names)}
  rows, results = [], []
  for i, (picture, one) in enumerate(zip(pictures, found, strict=True), 1):
    for box in picture.boxes:
      left, top, right, bottom = box.corners
      size = [left, top, right - left, bottom - top]
      row = {"image_id": i, "category_id": numbers[box.name], "bbox": size}
      row |= {"id": len(rows) + 1, "area": size[2] * size[3]}
      rows.append(row | {"iscrowd": int(box.crowd or box.difficult)})
    for corners, label, value in zip(
      *(one[k].tolist() for k in ("boxes", "labels", "scores")), strict=True
    ):
      left, top, right, bottom = corners
      size = [left, top, right - left, bottom - top]
      row = {"image_id": i, "category_id": label, "bbox": size, "score": value}
      results.append(row)
  if not results:
    return dict.fromkeys(MEASURES, 0.0)
  truth = COCO()
  truth.dataset = {
    "info": {},
    "images": [{"id": i + 1} for i in range(len(pictures))],
    "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    "annotations": rows,
  }
  with contextlib.redirect_stdout(io.StringIO()):  # it tells of every table
    truth.createIndex()
    judged = COCOeval(truth, truth.loadRes(results), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
  return dict(
    zip(("AP", "AP50", "AP75"), map(float, 100 * judged.stats[:3]), strict=True)
  )
