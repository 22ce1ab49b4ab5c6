import matplotlib
import numpy as np
import pytest
from PIL import Image

from ssljax import figures
from ssljax.figures import style

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


def test_a_class_s_name_is_no_formula(tmp_path):
  x = np.random.default_rng(0).normal(size=(9, 4))
  names = ["$_^$", "\\frac{", "a%s{}"]
  figures.embedding(x, np.arange(9) % 3, names, tmp_path / "embedding.png")
  figures.confusion(np.eye(3, dtype=int), names, "a vote", tmp_path / "confusion.png")
  assert (tmp_path / "confusion.png").stat().st_size > 1_000


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


def test_curves_draw_a_panel_for_whatever_a_run_measured(tmp_path):
  rows = [
    {"step": s, "loss": 3.0, "effective_rank": 9.0, "learning_rate": 0.1, "queue": s}
    for s in range(200)
  ]
  figures.curves(rows, tmp_path / "three.png")
  figures.curves([{**row, "grad_norm": 1.0} for row in rows], tmp_path / "four.png")
  (tall, wide, _), (taller, as_wide, _) = (
    pixels(tmp_path / f"{n}.png").shape for n in ("three", "four")
  )
  assert (taller, as_wide) == (2 * tall, wide)


def test_half_a_point_of_accuracy_does_not_fill_the_axis(tmp_path, monkeypatch):
  limits = {}

  def look(fig, *_, **__):
    limits.update({ax.get_title(loc="left"): ax.get_ylim() for ax in fig.axes})

  monkeypatch.setattr(matplotlib.figure.Figure, "savefig", look)
  scores = {"loss": (3.0, 2.9), "knn": (49.6, 50.2), "agreement": (99.0, 99.8)}
  rows = [{"step": s, **{k: v[s] for k, v in scores.items()}} for s in (0, 1)]
  figures.curves(rows, tmp_path / "curves.png")
  low, high = limits["Accuracy (%)"]
  assert (low + high) / 2 == pytest.approx(49.9)
  assert high - low == pytest.approx(10)
  assert limits["Neighbours kept (%)"] == (90, 100)
  assert np.ptp(limits["Training loss"]) < 0.2
  figures.overlay({"it": rows}, tmp_path / "overlay.png")
  assert np.ptp(limits["Accuracy (%): kNN"]) == pytest.approx(10)


def test_several_runs_share_the_panels_and_have_a_colour_each(tmp_path):
  path = tmp_path / "overlay.png"
  runs = {
    "one": [{"step": s, "loss": 3.0 - s, "knn": 50.0} for s in range(3)],
    "other": [{"step": s, "loss": 2.0 - s} for s in range(2)],
  }
  figures.overlay(runs, path)
  for colour in matplotlib.colormaps["tab10"].colors[:2]:
    assert share_of(np.round(np.multiply(colour, 255)), path) > 1e-4


def rgb(colour):
  return np.round(255 * np.array(matplotlib.colors.to_rgb(colour)))


def test_frames_tell_neighbours_of_the_query_s_class_from_others(tmp_path):
  path = tmp_path / "neighbours.png"
  right = np.zeros((2, 3), bool)
  right[0, 1] = True
  grey = np.uint8(128)
  figures.neighbours(solid(grey, 2, 8, 8), solid(grey, 2, 3, 8, 8), right, path)
  image = pixels(path)
  green = np.argwhere(np.all(image == rgb(style.RIGHT), -1))
  orange = np.argwhere(np.all(image == rgb(style.WRONG), -1))
  half = image.shape[0] * 0.65  # between the lines
  assert not (green[:, 0] > half).any()
  assert (orange[:, 0] > half).any()
  assert len(green) > 1000


def test_a_row_of_the_confusion_is_in_percent_of_its_class(tmp_path):
  path, dark = tmp_path / "confusion.png", rgb(matplotlib.colormaps["Blues"](1.0))
  figures.confusion(np.array([[1, 0], [0, 1000]]), ["ant", "bee"], "it", path)
  places = np.argwhere(np.all(pixels(path) == dark, -1))
  assert np.ptp(places, axis=0).min() > 300  # both corners of the diagonal are dark
  share = share_of(dark, path)
  figures.confusion(np.array([[0, 3], [0, 1000]]), ["ant", "bee"], "it", path)
  assert share_of(dark, path) == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize("n", [30, 70])
def test_a_confusion_of_many_classes_has_no_numbers_to_read(tmp_path, n):
  names = [f"class {c}" for c in range(n)]
  figures.confusion(np.eye(n, dtype=int), names, "it", tmp_path / "confusion.png")
  dark = rgb(matplotlib.colormaps["Blues"](1.0))
  assert share_of(dark, tmp_path / "confusion.png") == pytest.approx(0.6 / n, rel=0.4)


def test_lines_of_similarities_stand_at_the_medians(tmp_path):
  path = tmp_path / "similarities.png"
  figures.similarities(np.array([0.0, 0.8, 0.8]), np.array([0.2, 0.2, 1.0]), path)
  image = pixels(path)
  lower = image[image.shape[0] // 2 :]  # below the legend
  column = {
    name: np.median(np.argwhere(np.all(lower == rgb(colour), -1))[:, 1])
    for name, colour in (("positive", style.RIGHT), ("negative", style.WRONG))
  }
  wide = image.shape[1]
  assert (column["positive"] - column["negative"]) / wide == pytest.approx(
    0.55, abs=0.06
  )


def test_the_fewest_patches_that_hold_the_mass_are_kept():
  maps = np.array([[[0.1, 0.4], [0.3, 0.2]], [[0.0, 0.0], [7.0, 3.0]]])
  kept = figures.holding(maps, 0.6)
  assert kept.tolist() == [
    [[False, True], [True, False]],
    [[False, False], [True, False]],
  ]
  assert figures.holding(maps[0], 0.75).sum() == 3


def test_attention_leaves_the_kept_patches_as_they_are(tmp_path):
  path = tmp_path / "attention.png"
  maps = np.array([[[[0.7, 0.1], [0.1, 0.1]], [[0.25, 0.25], [0.25, 0.25]]]])
  figures.attention(solid(RED, 1, 8, 8), maps, path)
  # The picture is four tiles; of the heads' the first keeps a quarter, the other three.
  tile = share_of(RED, path) / (4 + 1 / 4 + 3 / 4)
  figures.attention(solid(RED, 1, 8, 8), maps, path, mass=1.0)
  assert share_of(RED, path) == pytest.approx(6 * tile, rel=0.05)


def test_patches_with_like_features_have_one_colour(tmp_path):
  path = tmp_path / "patches.png"
  kinds = np.arange(2 * 4 * 4).reshape(2, 4, 4) % 3
  grey = np.full(3, 99, np.uint8)
  figures.patch_colours(solid(grey, 2, 8, 8), np.eye(3, 5)[kinds] * 9, path)
  colours, counts = np.unique(pixels(path).reshape(-1, 3), axis=0, return_counts=True)
  large = {tuple(c) for c in colours[counts > 3000]} - {(255,) * 3, (99,) * 3}
  assert len(large) == 3


@pytest.mark.parametrize("channels", [1, 3, 12])
def test_each_filter_is_stretched_from_its_least_to_its_greatest_weight(
  tmp_path, channels
):
  kernel = np.random.default_rng(0).normal(size=(3, 3, channels, 20))
  figures.filters(kernel, tmp_path / "one.png")
  figures.filters(kernel * np.linspace(0.1, 5, 20) + 7, tmp_path / "other.png")
  one, other = (pixels(tmp_path / f"{n}.png").astype(int) for n in ("one", "other"))
  assert np.abs(one - other).max() <= 1
  assert share_of(RED, tmp_path / "one.png") == 0


def test_a_spectrum_does_not_depend_on_the_scale_of_features(tmp_path):
  values = np.arange(1.0, 65) ** -1.5
  figures.spectra({"a": values, "b": values**2}, tmp_path / "one.png")
  figures.spectra({"a": 9 * values, "b": values[::-1] ** 2}, tmp_path / "other.png")
  assert (pixels(tmp_path / "one.png") == pixels(tmp_path / "other.png")).all()


def test_the_best_of_a_column_is_whatever_prints_the_same_as_it():
  rows = {
    "raw": {"knn": 50.01, "error": 3.0, "rankme": 9.0},
    "random": {"knn": 50.04, "error": 2.0, "rankme": 5.0},
    "trained": {"knn": 49.0},
  }
  assert figures.best(rows, "knn") == {"raw", "random"}
  assert figures.best(rows, "error") == {"random"}
  assert figures.best(rows, "rankme") == set()  # more is not yet better
  for name in ("agreement", "prototypes_used"):
    assert figures.best({"a": {name: 1.0}, "b": {name: 2.0}}, name) == set()
  assert figures.best({"trained": {"knn": 49.0}}, "knn") == set()


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("few_label_1", "1 label"),
    ("recall_5", "recall@5"),
    ("copy_recall_1", "copy recall@1"),
    ("knn_20", "kNN, k = 20"),
    ("map", "mAP"),
    ("gaussian_noise", "gaussian noise"),
  ],
)
def test_a_column_is_called_what_people_call_it(name, words):
  assert figures.heading(name) == words


def test_classes_have_colours_of_their_own_and_no_class_is_white():
  masks = np.uint8([[[0, 1], [10, 255]]])
  colours = figures.by_class(masks, 11)
  assert colours.shape == (1, 2, 2, 3)
  assert (colours[0, 1, 1] == 1).all()
  assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 4


def test_the_farther_the_darker_and_what_is_unknown_is_white():
  colours = figures.by_value(np.float32([[[0, 1, 2, 4]]]), 0, 4)[0, 0]
  assert (colours[0] == 1).all()
  assert (np.diff(colours.mean(-1)) < 0).all()


def test_of_errors_of_depth_less_is_better_and_names_are_spelled_out():
  rows = {"a": {"rmse": 0.5, "delta1": 90.0}, "b": {"rmse": 0.4, "delta1": 80.0}}
  assert figures.best(rows, "rmse") == {"b"}
  assert figures.best(rows, "delta1") == {"a"}
  assert figures.cell(rows["a"], "rmse") == "0.500"
  assert figures.heading("knn_miou") == "kNN, mIoU"
  assert figures.heading("knn_10") == "kNN, k = 10"
