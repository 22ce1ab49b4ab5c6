"""What changes over the steps of a run."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from ssljax.figures import style
from ssljax.figures.style import STYLE

Metrics = Sequence[Mapping[str, Any]]  # the rows of a metrics.jsonl

ACCURACY = "Accuracy (%)"
KEPT = "Neighbours kept (%)"
PANELS = {  # title: {metric: (its name in words, what makes it the panel's unit)}
  "Training loss": {"loss": ("", 1)},
  ACCURACY: {
    "knn": ("kNN", 1),
    "probe_accuracy": ("probe on training views", 100),
    "accuracy": ("accuracy", 1),
  },
  "Effective rank of embeddings": {"effective_rank": ("", 1)},
  "RankMe of features": {"rankme": ("", 1)},
  KEPT: {"agreement": ("", 1)},
  "Cosine similarity": {
    "positive_similarity": ("views of one picture", 1),
    "negative_similarity": ("views of different ones", 1),
  },
  "Learning rate": {"learning_rate": ("", 1)},
  "Gradient norm": {"grad_norm": ("", 1)},
}
OVERLAID = ("loss", "knn", "probe_accuracy", "accuracy", "effective_rank", "rankme")
MOST_COLUMNS = 3
FEW = 30  # points that are marked one by one
LONG = 100
LEAST = 10  # points that an axis of % shows: on fewer, noise looks like progress


@matplotlib.rc_context(STYLE)
def curves(rows: Metrics, path: str | os.PathLike) -> None:
  """Draws the loss and, where metrics.jsonl has any, what else tells how it went.

  Long noisy series have their running mean in front.
  """
  logged = {
    title: {name: label for name, label in metrics.items() if len(_series(rows, name))}
    for title, metrics in PANELS.items()
  }
  fig, axes = _panels([title for title, metrics in logged.items() if metrics])
  for title, ax in axes.items():
    for name, (words, factor) in logged[title].items():
      x, y = (_series(rows, name) * (1, factor)).T
      label = f"{words}: {y[-1]:.1f} %" if title == ACCURACY else words
      _draw(ax, x, y, label)
    if any(words for words, _ in logged[title].values()):
      ax.legend(loc="best")
  _save(fig, axes, path)


@matplotlib.rc_context(STYLE)
def overlay(runs: Mapping[str, Metrics], path: str | os.PathLike) -> None:
  """Draws loss, accuracies and effective rank of runs {name: rows}, in one picture.

  A panel a metric that any of them has.
  """
  logged = {
    f"{title}: {words}" if words else title: (name, factor)
    for title, metrics in PANELS.items()
    for name, (words, factor) in metrics.items()
    if name in OVERLAID and any(len(_series(rows, name)) for rows in runs.values())
  }
  fig, axes = _panels(list(logged), room=0.3)
  lines = {}
  for number, (run, rows) in enumerate(runs.items()):
    for title, ax in axes.items():
      name, factor = logged[title]
      series = _series(rows, name) * (1, factor)
      if len(series):
        lines[run] = _draw(ax, *series.T, run, color=f"C{number}")
  if lines:
    wide = min(len(lines), MOST_COLUMNS)
    fig.legend(handles=lines.values(), loc="outside upper left", ncols=wide)
  _save(fig, axes, path)


def _panels(titles: Sequence[str], room: float = 0) -> tuple[Figure, dict[str, Axes]]:
  """Makes a panel a title; `room` inches are left above all of them."""
  wide = max(1, min(len(titles), MOST_COLUMNS))
  tall = max(1, math.ceil(len(titles) / wide))
  fig = Figure(figsize=(4.2 * wide, 3 * tall + room))
  axes = fig.subplots(tall, wide, squeeze=False).ravel()
  for ax in axes[len(titles) :]:
    ax.set_axis_off()
  for title, ax in zip(titles, axes, strict=False):
    ax.set(title=title, xlabel="step")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
  return fig, dict(zip(titles, axes, strict=False))


def _save(fig: Figure, axes: Mapping[str, Axes], path: str | os.PathLike) -> None:
  for title, ax in axes.items():
    ax.set_xlim(0, None)
    low, high = ax.get_ylim()
    if "%" in title and high - low < LEAST:
      low = np.clip((low + high - LEAST) / 2, 0, 100 - LEAST)
      ax.set_ylim(low, low + LEAST)
  style.save(fig, path)


def _draw(ax: Axes, x: np.ndarray, y: np.ndarray, label: str, **style) -> Line2D:
  """Draws a series -> the line that stands for it."""
  if not _noisy(y):
    marker = "o" if len(x) < FEW else None
    return ax.plot(x, y, marker=marker, markersize=3.5, label=label, **style)[0]
  mean = np.full(len(x) // 25, 1 / (len(x) // 25))
  (faint,) = ax.plot(x, y, linewidth=0.8, alpha=0.35, **style)
  middle, smooth = (np.convolve(values, mean, "valid") for values in (x, y))
  return ax.plot(middle, smooth, color=faint.get_color(), label=label)[0]


def _noisy(y: np.ndarray) -> bool:
  """Whether a series is long and turns so often that its mean is to be seen."""
  turns = np.diff(np.sign(np.diff(y))) != 0
  return len(y) >= LONG and float(np.mean(turns)) > 0.2


def _series(rows: Metrics, name: str) -> np.ndarray:
  """Collects [n,2] of step and value, from the rows that hold `name`."""
  pairs = [(row["step"], float(row[name])) for row in rows if name in row]
  return np.array(pairs, np.float64).reshape(-1, 2)
