"""examples/detection/: what is read, built and judged, and all of it once."""

import json

import numpy as np
import pytest

from ssljax.weights import files

torch = pytest.importorskip("torch", reason="needs the extra detection: torch")
for name in ("torchvision", "pycocotools"):
  pytest.importorskip(name, reason=f"needs the extra detection: {name}")

from examples.detection import data, model, scenes, train
from examples.detection.schedule import SCHEDULES, batches, rate, shortened

torch.set_num_threads(1)  # as many processes test as there are cores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Scenes, and the file of an encoder of four blocks."""
  folder = tmp_path_factory.mktemp("scenes")
  scenes.write(folder, counts={"unlabelled": 1, "train": 4})
  shapes = {"conv1.weight": np.zeros((8, 3, 7, 7), np.float32)}
  shapes |= {f"layer{i}.0.conv1.weight": np.zeros(1) for i in range(1, 5)}
  torch.manual_seed(1)
  net = model.resnet(shapes, start=False)
  arrays = {k: x.numpy() for k, x in net.state_dict().items()}
  seen = {"pictures": {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}}
  texts = {"ssljax": json.dumps(seen)}
  files.write(folder / "encoder.safetensors", arrays, texts)
  return folder


@pytest.mark.parametrize("kind", ["fpn", "c4"])
def test_both_detectors_learn_and_are_judged_from_every_start(folder, kind):
  file = str(folder / "encoder.safetensors")
  scores = train.main(
    [
      *("--encoder", file, "--supervised", file, "--kind", kind),
      *("--train", f"{folder}:train", "--test", f"{folder}:train"),
      *("--schedule", "scenes", "--iterations", "2", "--batch", "2"),
    ]
  )
  assert list(scores) == ["random", "supervised", "trained"]
  assert scores["supervised"] == scores["trained"]  # one file, one seed
  assert all(set(rows[0]) == {"AP", "AP50", "AP75"} for rows in scores.values())


def test_a_detector_s_backbone_is_the_encoder_s_and_sees_as_it_does(folder):
  start = train.read(str(folder / "encoder.safetensors"))
  for taken in (True, False):
    net = model.resnet(start.arrays, taken)
    same = np.array_equal(net.conv1.weight.detach(), start.arrays["conv1.weight"])
    assert same == taken
  plan = SCHEDULES["scenes"]
  found = model.detector(net, "fpn", 3, plan, start.mean, start.std)
  assert found.transform.image_mean == [0.1, 0.2, 0.3]
  assert found.backbone.body.conv1 is net.conv1
  assert found.roi_heads.box_predictor.cls_score.out_features == 4
  assert all(p.requires_grad for p in found.parameters())  # norms among them


def test_scenes_are_read_as_they_were_written(folder):
  pictures = data.read(f"{folder}:train")
  assert len(pictures) == 4
  for picture in pictures:
    for box in picture.boxes:
      left, top, right, bottom = box.corners
      assert 0 <= left < right <= scenes.SIDE
      assert 0 <= top < bottom <= scenes.SIDE
      assert box.name in map(str, range(10))


def test_voc_s_boxes_begin_at_one_and_some_are_difficult(tmp_path):
  for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (tmp_path / name).mkdir(parents=True)
  (tmp_path / "ImageSets/Main/trainval.txt").write_text("0001\n")
  edges = "<xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>20</ymax>"
  found = f"<object><name>cat</name><difficult>1</difficult><bndbox>{edges}</bndbox>"
  text = f"<annotation>{found}</object></annotation>"
  (tmp_path / "Annotations/0001.xml").write_text(text)
  (picture,) = data.read(f"{tmp_path}:trainval")
  assert picture.file == tmp_path / "JPEGImages/0001.jpg"
  assert picture.boxes == (data.Box((0, 2, 10, 20), "cat", difficult=True),)


def test_a_mirrored_picture_s_boxes_lie_where_its_things_do(folder):
  (picture, *_) = data.read(f"{folder}:train")
  (x, plain), (mirrored, target) = (
    data.Examples([picture], [str(n) for n in range(10)], flip)[0] for flip in (0, 1)
  )
  for a, b in zip(plain["boxes"].int(), target["boxes"].int(), strict=True):
    one = x[:, a[1] : a[3], a[0] : a[2]]
    two = mirrored[:, b[1] : b[3], b[0] : b[2]]
    np.testing.assert_array_equal(one.flip(2), two)


def test_perfect_boxes_score_a_hundred_and_none_nothing(tmp_path):
  boxes = (
    data.Box((0, 0, 10, 10), "a"),
    data.Box((20, 0, 40, 10), "b"),
    data.Box((50, 50, 60, 60), "b", difficult=True),  # to be found or not
  )
  pictures = [data.Picture(tmp_path, boxes), data.Picture(tmp_path, ())]
  none = {
    "boxes": torch.zeros(0, 4),
    "labels": torch.zeros(0),
    "scores": torch.zeros(0),
  }
  found = {
    "boxes": torch.tensor([box.corners for box in boxes[:2]]),
    "labels": torch.tensor([1, 2]),
    "scores": torch.tensor([0.9, 0.8]),
  }
  wide = found | {"boxes": found["boxes"] * torch.tensor([1, 1, 1, 1.6])}
  names = ["a", "b"]
  assert data.score(pictures, names, [found, none]) == pytest.approx(
    {"AP": 100, "AP50": 100, "AP75": 100}
  )
  # Boxes 10 / 16 right are so at 0.5, 0.55 and 0.6 of ten thresholds.
  assert data.score(pictures, names, [wide, none]) == pytest.approx(
    {"AP": 30, "AP50": 100, "AP75": 0}
  )
  assert data.score(pictures, names, [none, none])["AP50"] == 0


def test_the_learning_rate_is_moco_s():
  plan = SCHEDULES["voc"]
  at = {i: rate(plan, i) for i in (0, 50, 100, 17999, 18000, 22000)}
  want = {0: 1e-3, 50: 0.5005, 100: 1, 17999: 1, 18000: 0.1, 22000: 0.01}
  assert at == pytest.approx(want)
  assert plan.scales[::10] == (480, 800)
  assert shortened(plan, 2400).steps == (1800, 2200)


def test_processes_share_each_batch_and_an_epoch_leaves_nothing_out():
  plan = SCHEDULES["scenes"]._replace(batch=4)
  shares = [batches(plan, 6, 0, rank, 2) for rank in range(2)]
  rows = [next(share) for _ in range(3) for share in shares]
  assert [len(row) for row in rows] == [2] * 6
  order = [i for row in rows for i in row]
  assert sorted(order) == sorted([*range(6)] * 2)


@pytest.mark.parametrize(
  ("source", "sentence"),
  [("nowhere:train", "must be FOLDER:SPLIT"), ("train", "must be FOLDER:SPLIT")],
)
def test_a_source_that_is_none_is_said(source, sentence):
  with pytest.raises(SystemExit, match=sentence):
    data.read(source)


def test_a_split_that_is_not_there_is_said(tmp_path):
  with pytest.raises(SystemExit, match=r"instances_train\.json is not there"):
    data.read(f"{tmp_path}:train")
  (tmp_path / "Annotations").mkdir()
  with pytest.raises(SystemExit, match=r"train\.txt is not there"):
    data.read(f"{tmp_path}:train")
