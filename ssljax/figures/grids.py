"""Pictures in lines, and what a network sees in them."""

import math
import os
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ssljax.figures import style
from ssljax.figures.spaces import principal
from ssljax.figures.style import RIGHT, STYLE, WRONG, class_colours, displayable

SPACE = 0.08  # of a tile, between two


@matplotlib.rc_context(STYLE)
def pictures(
  lines: Mapping[str, np.ndarray], title: str, path: str | os.PathLike
) -> None:
  """Draws a line of pictures [N,H,W,3 or 1] under each name, the same N on all.

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
      ax.imshow(displayable(image), interpolation="nearest", cmap="gray")
      ax.set_axis_off()
      ax.set_anchor("W")
    row[0].text(-0.1, 0.5, name, ha="right", va="center", transform=row[0].transAxes)
  style.save(fig, path)


def by_class(masks: np.ndarray, num_classes: int) -> np.ndarray:
  """Colours classes [N,H,W] -> f64 [N,H,W,3] in [0,1]; what is none is white."""
  colours = class_colours(num_classes)[:num_classes, :3]
  colours = np.concatenate([colours, np.ones((1, 3))])
  return colours[np.minimum(masks.astype(int), num_classes)]


def by_value(x: np.ndarray, low: float, high: float) -> np.ndarray:
  """Colours numbers [N,H,W] -> f64 [N,H,W,3] in [0,1]; `low` and below is white."""
  share = np.clip((x - low) / (high - low), 0, 1)
  colours = matplotlib.colormaps["viridis_r"](share)[..., :3]
  return np.where((x <= low)[..., None], 1.0, colours)


def neighbours(
  queries: np.ndarray,
  nearest: np.ndarray,
  right: np.ndarray | None,
  path: str | os.PathLike,
) -> None:
  """Draws a line for each query [Q,H,W,3]: it, and its nearest [Q,K,H,W,3].

  `right` bool [Q,K] says which of those have the query's class; their frames say it.
  None: there are no classes.
  """
  gap = 0.35
  fig, ax = _tiles(nearest.shape[1] + 1 + gap, len(queries) + 0.3, "Nearest neighbours")
  for row, query in enumerate(queries):
    y = row + 0.3
    _put(ax, query, 0, y)
    for column, image in enumerate(nearest[row]):
      x = column + 1 + gap
      _put(ax, image, x, y)
      if right is not None:
        _frame(ax, x, y, *((RIGHT, 3.5) if right[row, column] else (WRONG, 1.5)))
  ax.text(0.5, 0.15, "query", ha="center", va="center")
  x = 1 + gap + SPACE / 2
  frames = ("same class  ", RIGHT), ("another class", WRONG)
  for words, colour in () if right is None else frames:
    text = f"■ {words}"
    ax.text(x, 0.15, text, va="center", color=colour, weight="bold")
    x += 1.4
  style.save(fig, path)


def attention(
  images: np.ndarray,
  maps: np.ndarray,
  path: str | os.PathLike,
  query: str = "the class token",
  mass: float = 0.6,
) -> None:
  """Draws where a `query` looks in pictures [N,H,W,3], head by head.

  `maps` [N,heads,h,w] are its attention to the patches. Above the attention of each
  head, below the picture where that is: the fewest patches that hold `mass` of it
  (DINO; Caron et al. 2021, figures 3 and 4).
  """
  heads = maps.shape[1]
  is_within = holding(maps, mass)
  fig, ax = _tiles(heads + 2.2, 2.25 * len(images), f"Attention of {query}")
  for head in range(heads):
    ax.text(head + 2.7, 0.1, f"head {head + 1}", ha="center", va="center")
  for n, image in enumerate(images):
    y = 2.25 * n + 0.25
    _put(ax, image, 0, y, 2)
    for head in range(heads):
      x = head + 2.2
      _put(ax, maps[n, head] / maps[n, head].max(), x, y, cmap="inferno")
      _put(ax, image, x, y + 1)
      veil = np.full((*is_within.shape[2:], 4), 0.45)
      veil[..., 3] = np.where(is_within[n, head], 0, 0.85)
      _put(ax, veil, x, y + 1)
  style.save(fig, path)


def holding(maps: np.ndarray, mass: float) -> np.ndarray:
  """Marks the fewest patches that hold `mass` of the sum of maps [...,h,w] >= 0."""
  flat = maps.reshape(*maps.shape[:-2], -1).astype(np.float64)
  order = np.argsort(-flat, axis=-1, kind="stable")
  falling = np.take_along_axis(flat, order, -1)
  mass_before = np.cumsum(falling, -1) - falling
  is_within = np.zeros(flat.shape, bool)
  enough = mass_before < mass * flat.sum(-1, keepdims=True)
  np.put_along_axis(is_within, order, enough, -1)
  return is_within.reshape(maps.shape)


def patch_colours(
  images: np.ndarray, tokens: np.ndarray, path: str | os.PathLike, pairs: int = 4
) -> None:
  """Draws pictures [N,H,W,3] beside their patches' features [N,h,w,D] in colour.

  Red, green and blue are the first three principal components of all patches
  together: like colours, like features (DINOv2; Oquab et al. 2023, figure 1).
  """
  parts = principal(tokens.reshape(-1, tokens.shape[-1]), 3)
  low, high = np.percentile(parts, (1, 99), axis=0, keepdims=True)
  colours = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
  colours = colours.reshape(*tokens.shape[:-1], 3)
  pairs = min(pairs, len(images))
  width = 2.3
  title = "Patches by their three principal components"
  fig, ax = _tiles(pairs * width - 0.3, math.ceil(len(images) / pairs), title)
  for n, image in enumerate(images):
    y, x = divmod(n, pairs)
    _put(ax, image, x * width, y)
    _put(ax, colours[n], x * width + 1, y)
  style.save(fig, path)


def filters(kernel: np.ndarray, path: str | os.PathLike, columns: int = 16) -> None:
  """Draws a first layer's kernel [h,w,cin,cout], a picture a filter, each stretched.

  From its least to its greatest weight; of other than 3 channels, their mean.
  """
  kernel = np.moveaxis(kernel, -1, 0).astype(np.float32)
  if kernel.shape[-1] != 3:
    kernel = kernel.mean(-1)
  axes = tuple(range(1, kernel.ndim))
  low = kernel.min(axes, keepdims=True)
  span = kernel.max(axes, keepdims=True) - low
  stretched = (kernel - low) / np.where(span > 0, span, 1)
  columns = min(columns, len(kernel))
  title = f"The first layer's {len(kernel)} filters"
  rows = math.ceil(len(kernel) / columns)
  fig, ax = _tiles(columns, rows, title, inches=0.6)
  for n, image in enumerate(stretched):
    y, x = divmod(n, columns)
    _put(ax, image, x, y)
  style.save(fig, path)


def _tiles(
  wide: float, tall: float, title: str, inches: float = 1.0
) -> tuple[Figure, Axes]:
  """Makes axes in units of tiles, y downwards, under a title."""
  above = 0.4
  width, height = max(inches * wide, 3.5), inches * tall
  with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
    fig = Figure(figsize=(width, height + above))
    ax = fig.add_axes((0, 0, 1, height / (height + above)))
    fig.text(
      SPACE / 2 * inches / width,
      1 - 0.5 * above / (height + above),
      title,
      va="center",
      weight="bold",
      size=12,
    )
  ax.set(xlim=(0, width / inches), ylim=(tall, 0), autoscale_on=False)
  ax.set_axis_off()
  return fig, ax


def _put(
  ax: Axes, image: np.ndarray, x: float, y: float, side: float = 1, cmap: str = "gray"
) -> None:
  """Draws a picture [H,W,(1, 3 or 4)] on the tile whose corner is (x, y)."""
  half = SPACE / 2
  ax.imshow(
    displayable(image),
    extent=(x + half, x + side - half, y + side - half, y + half),
    interpolation="nearest",
    aspect="auto",
    cmap=cmap,
    vmin=0,
    vmax=None if image.dtype == np.uint8 else 1,
  )


def _frame(ax: Axes, x: float, y: float, colour: str, points: float) -> None:
  inset = SPACE / 2 + points / 144  # a tile is an inch
  ax.add_patch(
    Rectangle(
      (x + inset, y + inset),
      1 - 2 * inset,
      1 - 2 * inset,
      fill=False,
      edgecolor=colour,
      linewidth=points,
    )
  )
