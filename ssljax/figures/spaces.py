"""How features lie in their space, and what a classifier makes of them."""

import os
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from threadpoolctl import threadpool_limits

from ssljax.figures import style
from ssljax.figures.style import RIGHT, STYLE, WRONG, class_colours

MOST_POINTS = 1500  # t-SNE's time grows faster than its picture
FEWEST_POINTS = 100  # below, t-SNE has no neighbourhoods to draw
MOST_VALUES = 20  # classes of a confusion matrix whose numbers can be read
MOST_NAMES = 60  # and whose names can


@matplotlib.rc_context(STYLE)
def embedding(
  features: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str],
  path: str | os.PathLike,
) -> None:
  """Draws features [N,D] in two dimensions, coloured by label [N], of `class_names`.

  Without `class_names` all have one colour.
  t-SNE and PCA of at most 1500 random examples, each normalised to length 1; PCA alone
  where there are fewer than 100. More than 20 classes have colours but no legend.
  """
  rng = np.random.default_rng(0)
  chosen = rng.permutation(len(features))[:MOST_POINTS]
  x, y = features[chosen], np.asarray(labels)[chosen]
  x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  maps = {"PCA": principal(x, 2)}
  if len(x) >= FEWEST_POINTS:
    maps = {"t-SNE": _t_sne(x), **maps}
  fig = Figure(figsize=(1.2 + 4.6 * len(maps), 4.6))
  colours = class_colours(len(class_names))
  axes = fig.subplots(1, len(maps), squeeze=False)[0]
  for ax, (method, points) in zip(axes, maps.items(), strict=True):
    if not class_names:
      ax.scatter(*points.T, s=9, linewidths=0)
    for c, name in enumerate(class_names):
      ax.scatter(*points[y == c].T, s=9, color=colours[c], linewidths=0, label=name)
    ax.set(xticks=[], yticks=[], title=f"{method} of {len(x)} features")
    ax.set_aspect("equal", "datalim")
    ax.spines[:].set_visible(False)
  if 0 < len(class_names) <= 20:
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2.5)
  style.save(fig, path)


@matplotlib.rc_context({**STYLE, "axes.grid": False})
def confusion(
  counts: np.ndarray, class_names: Sequence[str], who: str, path: str | os.PathLike
) -> None:
  """Draws what `who` took each class for: counts [C,C], true class by predicted.

  A row is in % of its class. Up to 20 classes have their numbers written, up to 60
  their names.
  """
  totals = counts.sum(1, keepdims=True)
  shares = 100 * counts / np.maximum(totals, 1)
  few = len(counts) <= MOST_VALUES
  side = max(4.5, 0.5 * len(counts)) if few else 7.5
  fig = Figure(figsize=(side + 1.2, side + 0.6))
  ax = fig.subplots()
  scale = PowerNorm(1 if few else 0.5, vmin=0, vmax=100)  # many: rare errors show
  image = ax.imshow(shares, cmap="Blues", norm=scale)
  right = 100 * np.trace(counts) / max(counts.sum(), 1)
  ax.set(
    title=f"{right:.1f} % right\nby {who}",
    xlabel="predicted class",
    ylabel="true class",
    xticks=[],
    yticks=[],
  )
  ax.spines[:].set_visible(False)
  if len(counts) <= MOST_NAMES:
    size = 10 if few else 6
    places = np.arange(len(counts))
    ax.set_yticks(places, class_names, size=size)
    ax.set_xticks(places, class_names, size=size, rotation=45, ha="right")
    ax.tick_params(length=0)
  if not few:
    bar = fig.colorbar(image, shrink=0.7, format=PercentFormatter(decimals=0))
    bar.outline.set_visible(False)
  else:
    for (row, column), share in np.ndenumerate(shares):
      if counts[row, column]:
        colour = "white" if share > 55 else "0.2"
        ax.text(
          column, row, f"{share:.0f}", ha="center", va="center", color=colour, size=9
        )
  style.save(fig, path)


@matplotlib.rc_context(STYLE)
def similarities(
  positives: np.ndarray, negatives: np.ndarray, path: str | os.PathLike
) -> None:
  """Draws cosines of positive pairs [P] and negative pairs [M], with medians."""
  fig = Figure(figsize=(7.2, 3.6))
  ax = fig.subplots()
  lowest = min(0.0, float(np.min(positives)), float(np.min(negatives)))
  bins = np.linspace(lowest, 1, 81)
  for name, values, colour in (
    ("negative pairs", negatives, WRONG),
    ("positive pairs", positives, RIGHT),
  ):
    middle = float(np.median(values))
    share = np.full(len(values), 100 / len(values))
    ax.hist(
      np.minimum(values, 1),  # rounding may have passed it
      bins,
      weights=share,
      color=colour,
      alpha=0.55,
      label=f"{name}, median {middle:.2f}",
    )
    ax.axvline(middle, color=colour, linewidth=1.5, linestyle="--")
  ax.set(
    title="How alike the pairs are",
    xlabel="cosine similarity",
    ylabel="share of pairs (%)",
    xlim=(lowest, 1),
  )
  ax.legend(loc="best")
  style.save(fig, path)


@matplotlib.rc_context(STYLE)
def spectra(eigenvalues: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
  """Draws eigenvalues [D] of several encoders' covariances, falling, {name: values}.

  Each as a share of its sum. The line 1/n is where natural pictures make a code that
  is as rich as it can be and still smooth (Stringer et al. 2019).
  """
  fig = Figure(figsize=(7.2, 4.2))
  ax = fig.subplots()
  longest = max(map(len, eigenvalues.values()))
  lowest = 1.0
  for name, values in eigenvalues.items():
    shares = np.sort(np.maximum(values, 0))[::-1] / max(np.sum(values), 1e-12)
    shares = shares[shares > 1e-9]  # of rounding below
    lowest = min([lowest, *shares[-1:]])
    ax.plot(np.arange(1, len(shares) + 1), shares, label=name)
  n = np.array([1, longest])
  ax.plot(n, 1 / (n * np.log(longest + 1)), color="0.6", linestyle=":", label="1/n")
  ax.set(
    title="Share of the variance along each direction",
    xlabel="direction, by its variance",
    ylabel="share of the variance",
    xscale="log",
    yscale="log",
    xlim=(1, max(longest, 2)),
    ylim=(max(lowest, 1e-7) / 2, 1),
  )
  ax.legend(loc="lower left")
  style.save(fig, path)


def principal(x: np.ndarray, count: int) -> np.ndarray:
  """Computes the first principal components [N,count] of [N,D], zeros beyond."""
  from sklearn.decomposition import PCA  # a second that only pictures need

  has = min(count, len(x) - 1, x.shape[1])
  with np.errstate(invalid="ignore"):  # where nothing varies
    parts = PCA(has).fit_transform(x) if has > 0 else x[:, :0]
  return np.pad(parts, ((0, 0), (0, count - parts.shape[1])))


def _t_sne(x: np.ndarray) -> np.ndarray:
  from sklearn.manifold import TSNE  # loaded before its threads are limited

  # One thread: on two cores that XLA shares, more of them are ten times slower.
  with threadpool_limits(1):
    return TSNE(init="pca", max_iter=500, random_state=0).fit_transform(x)
