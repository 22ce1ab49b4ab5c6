"""Pictures and tables of a run. Each function writes one PNG; none touches pyplot."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

STYLE = {
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.edgecolor": "0.4",
  "axes.grid": True,
  "axes.titlelocation": "left",
  "axes.titlesize": 12,
  "axes.titleweight": "bold",
  "figure.constrained_layout.use": True,
  "figure.dpi": 150,
  "font.size": 10,
  "grid.color": "0.9",
  "legend.frameon": False,
  "xtick.color": "0.3",
  "ytick.color": "0.3",
}
PERCENT = {  # what `curves` draws: its name in words, and what makes it a percentage
  "knn": ("kNN", 1),
  "probe_accuracy": ("probe on training views", 100),
  "accuracy": ("accuracy", 1),
}
HEADINGS = {"knn": "kNN", "accuracy_top5": "top 5"}
MOST_POINTS = 1500  # t-SNE's time grows faster than its picture
FEWEST_POINTS = 100  # below, t-SNE has no neighbourhoods to draw


@matplotlib.rc_context(STYLE)
def pictures(
  lines: Mapping[str, np.ndarray], title: str, path: str | os.PathLike
) -> None:
  """A line of pictures [N,H,W,3 or 1] under each name, the same N on all.

  Pictures are uint8, or float in [0,1] (clipped there). From the second line on they
  are drawn at their size relative to that line.
  """
  sizes = [x.shape[1] for x in lines.values()]
  heights = [1.0, *(size / sizes[1] for size in sizes[1:])]
  count = len(next(iter(lines.values())))
  fig = Figure(figsize=(1.1 * count + 0.6, 1.1 * sum(heights) + 0.4))
  fig.suptitle(title, x=0.01, ha="left", weight="bold", size=12)
  shape = (len(lines), count)
  axes = fig.subplots(*shape, squeeze=False, gridspec_kw={"height_ratios": heights})
  for row, (name, images) in zip(axes, lines.items(), strict=True):
    for ax, image in zip(row, images, strict=True):
      ax.imshow(_displayable(image), interpolation="nearest", cmap="gray")
      ax.set_axis_off()
      ax.set_anchor("W")
    row[0].text(-0.1, 0.5, name, ha="right", va="center", transform=row[0].transAxes)
  fig.savefig(path)


@matplotlib.rc_context(STYLE)
def curves(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
  """The loss and, where rows of metrics.jsonl hold any, accuracies over the steps."""
  found = {name: _series(rows, name) for name in PERCENT}
  found = {name: series for name, series in found.items() if len(series)}
  fig = Figure(figsize=(4.5 * (1 + bool(found)), 3.2))
  axes = fig.subplots(1, 1 + bool(found), squeeze=False)[0]
  axes[0].plot(*_series(rows, "loss").T)
  axes[0].set(title="Training loss", xlabel="step", xlim=(0, None))
  for name, series in found.items():
    words, factor = PERCENT[name]
    values = factor * series[:, 1]
    label = f"{words}: {values[-1]:.1f} %"
    marker = "o" if len(values) < 30 else None
    axes[1].plot(series[:, 0], values, marker=marker, markersize=3.5, label=label)
  if found:
    axes[1].set(title="Accuracy (%)", xlabel="step", xlim=(0, None))
    axes[1].legend()
  fig.savefig(path)


@matplotlib.rc_context(STYLE)
def embedding(
  features: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str],
  path: str | os.PathLike,
) -> None:
  """Features [N,D] in two dimensions, coloured by label [N] in 0..len(class_names)-1.

  t-SNE of at most 1500 random examples after normalising each to length 1; PCA where
  there are fewer than 100. More than 20 classes have colours but no legend.
  """
  rng = np.random.default_rng(0)
  chosen = rng.permutation(len(features))[:MOST_POINTS]
  x, y = features[chosen], np.asarray(labels)[chosen]
  x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  if len(x) < FEWEST_POINTS:
    method, points = "PCA", PCA(2).fit_transform(x)
  else:
    method, points = "t-SNE", _t_sne(x)
  fig = Figure(figsize=(7.2, 5.2))
  ax = fig.subplots()
  colours = _class_colours(len(class_names))
  for c, name in enumerate(class_names):
    ax.scatter(*points[y == c].T, s=9, color=colours[c], linewidths=0, label=name)
  ax.set(
    xticks=[], yticks=[], title=f"{method} of {len(x)} features, coloured by class"
  )
  ax.set_aspect("equal", "datalim")
  ax.spines[:].set_visible(False)
  if len(class_names) <= 20:
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2.5)
  fig.savefig(path)


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
  """{"raw pixels": {"knn": 97.1, ...}, ...} -> aligned text, one line a row.

  "few_label_5" stands beside its "few_label_5_std" as "72.1 ± 2.3" in column
  "5 labels"; what a row lacks is "-".
  """
  names = list(dict.fromkeys(k for row in rows.values() for k in row))
  names = [name for name in names if not name.endswith("_std")]
  lines = [["", *map(_heading, names)]]
  lines += [
    [title, *(_cell(row, name) for name in names)] for title, row in rows.items()
  ]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
    for line in lines
  )


def _t_sne(x: np.ndarray) -> np.ndarray:
  # One thread: on two cores that XLA shares, more of them are ten times slower.
  with threadpool_limits(1):
    return TSNE(init="pca", max_iter=500, random_state=0).fit_transform(x)


def _heading(name: str) -> str:
  if not name.startswith("few_label_"):
    return HEADINGS.get(name, name)
  n = name.removeprefix("few_label_")
  return f"{n} label" if n == "1" else f"{n} labels"


def _cell(row: Mapping[str, float], name: str) -> str:
  if name not in row:
    return "-"
  std = row.get(f"{name}_std")
  return f"{row[name]:.1f}" + (f" ± {std:.1f}" if std is not None else "")


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
  """[n,2] of step and value, from the rows that hold `name`."""
  pairs = [(row["step"], float(row[name])) for row in rows if name in row]
  return np.array(pairs, np.float64).reshape(-1, 2)


def _displayable(image: np.ndarray) -> np.ndarray:
  return image if image.dtype == np.uint8 else np.clip(image, 0, 1)


def _class_colours(n: int) -> np.ndarray:
  if n <= 20:
    return np.array(matplotlib.colormaps["tab10" if n <= 10 else "tab20"].colors)
  return matplotlib.colormaps["gist_rainbow"](np.linspace(0, 1, n))
