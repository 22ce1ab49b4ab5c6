import matplotlib
import numpy as np
import pytest
from PIL import Image

from ssljax import figures

RED, GREEN, BLUE = np.eye(3, dtype=np.uint8) * 255


def solid(colour, *shape):
  return np.broadcast_to(colour, (*shape, 3))


def pixels(path):
  with Image.open(path) as image:
    return np.asarray(image.convert("RGB"))


def share_of(colour, path):
  """The share of the PNG's pixels that have exactly this colour."""
  return np.mean(np.all(pixels(path) == colour, axis=-1))


@pytest.fixture(autouse=True)
def _leaves_matplotlib_as_it_was():
  before = dict(matplotlib.rcParams)
  yield
  assert dict(matplotlib.rcParams) == before


def test_lines_of_pictures_are_drawn_at_their_relative_size(tmp_path):
  path = tmp_path / "views.png"
  lines = {
    "original": solid(RED, 2, 16, 16),
    "view 1": solid(GREEN, 2, 8, 8) / 255,
    "view 2": solid(GREEN, 2, 8, 8) / 255,
    "local 1": solid(BLUE, 2, 4, 4) / 255,
    "local 2": solid(BLUE, 2, 4, 4) / 255,
  }
  figures.pictures(lines, "Pictures and their views", path)
  red, green, blue = (share_of(c, path) for c in (RED, GREEN, BLUE))
  assert red > 0.1
  assert green == pytest.approx(2 * red, rel=0.1)
  assert blue == pytest.approx(green / 4, rel=0.2)


def test_floats_out_of_range_are_clipped(tmp_path):
  lines = {
    "original": solid(BLUE, 1, 4, 4),
    "view": np.float32(solid(RED, 1, 4, 4)) * 9,
  }
  figures.pictures(lines, "Pictures", tmp_path / "views.png")
  assert share_of(RED, tmp_path / "views.png") > 0.05


def test_curves_gain_a_panel_when_there_is_an_accuracy(tmp_path):
  rows = [{"step": s, "loss": 3 - s} for s in range(3)] + [{"step": 3, "loss": "nan"}]
  figures.curves(rows, tmp_path / "loss.png")
  figures.curves([*rows, {"step": 2, "probe_accuracy": 0.9}], tmp_path / "both.png")
  one, two = (pixels(tmp_path / f"{n}.png").shape[1] for n in ("loss", "both"))
  assert two == 2 * one


@pytest.mark.parametrize("n", [30, 120])
def test_embedding_has_a_colour_for_each_class(tmp_path, n):
  path = tmp_path / "embedding.png"
  labels = np.arange(n) % 3
  x = np.eye(3, 8)[labels] + 0.1 * np.random.default_rng(0).normal(size=(n, 8))
  figures.embedding(x, labels, ["ant", "bee", "cat"], path)
  for colour in matplotlib.colormaps["tab10"].colors[:3]:
    assert share_of(np.round(np.multiply(colour, 255)), path) > 2e-4


def test_many_classes_have_colours_but_no_legend(tmp_path):
  x = np.random.default_rng(0).normal(size=(50, 8))
  names = [f"a very long name of class {c}" for c in range(50)]
  figures.embedding(x, np.arange(50), names, tmp_path / "embedding.png")
  assert (tmp_path / "embedding.png").stat().st_size > 5_000


def test_table_lines_up_and_shows_deviations():
  rows = {
    "raw pixels": {"knn": 97.14, "few_label_1": 50.0, "few_label_1_std": 4.06},
    "trained encoder": {"knn": 99.0, "few_label_20": 98.0, "few_label_20_std": 0.5},
  }
  assert figures.table(rows).split("\n") == [
    "                  kNN     1 label   20 labels",
    "raw pixels       97.1  50.0 ± 4.1           -",
    "trained encoder  99.0           -  98.0 ± 0.5",
  ]
