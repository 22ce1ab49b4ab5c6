"""Pictures to features, once for all evaluators of a moment."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ssljax import sharding
from ssljax.augment import views
from ssljax.evals import dense
from ssljax.fields import ConfigError

RAW_SIDE = 32  # pixels
RAW_GRID = 4  # patches a side
SPECTRUM_BANDS = 256
TOKEN_BUCKETS = 4096
IN_FLIGHT = 2  # batches the host runs ahead of the device
SIMILARITIES = 2**25  # of queries to a gallery, how many are in memory at once


# Keys [B] and pictures uint8 [B,H,W,C] -> changed pictures, for what distorts them.
Change = Callable[[jax.Array, jax.Array], jax.Array]


class FeatureSet(NamedTuple):
  """The features of both splits, and ways to see their pictures again.

  `look(change)` gives the test split [M,D] after its pictures were changed, `draw(n)`
  [M,n,D] under n random views that the run learns from, both of all pictures or of the
  `rows` [R] that are named; `assign()` the prototype [M] that scores highest for each
  and how many there are, `patches(block)` the features [N,h,w,D], then [M,h,w,D], of
  patches of both splits: None where there are none.
  """

  train_x: np.ndarray  # f32 [N,D]
  train_y: np.ndarray  # i32 [N], in 0..num_classes-1, or -1: none
  test_x: np.ndarray  # f32 [M,D]
  test_y: np.ndarray  # i32 [M]
  num_classes: int
  test_scores: np.ndarray | None = None  # f32 [M,C], of an encoder that classifies
  train_index: np.ndarray | None = None  # i32 [N], their places in the data, of which
  test_index: np.ndarray | None = None  # [M] what cannot be read is missing
  look: Callable[..., np.ndarray] | None = None
  draw: Callable[..., np.ndarray] | None = None
  assign: Callable[[], tuple[np.ndarray, int]] | None = None
  patches: Callable[..., Iterator[np.ndarray]] | None = None
  listed: Callable[[], np.ndarray] | None = None
  held_out: bool = True  # False: both splits are the same examples, by their places


TRAIN = ("train_x", "train_y", "train_index")
TEST = ("test_x", "test_y", "test_scores", "test_index")


def extract(
  embed: Callable[[dict[str, jax.Array]], Any],
  batches: Iterable[dict[str, np.ndarray]],
  mesh: Mesh,
) -> tuple[Any, np.ndarray]:
  """Extracts features of host batches -> f32 [N,D], "label" i32 [N,...], everywhere.

  All that `extracted` gives, in one array, or as many as `embed` gives.
  """
  features, labels = zip(*extracted(embed, batches, mesh), strict=True)
  features = jax.tree.map(lambda *parts: np.concatenate(parts), *features)
  features = jax.tree.map(lambda x: x.astype(np.float32), features)
  return features, np.concatenate(labels)


def extracted(
  embed: Callable[[dict[str, jax.Array]], Any],
  batches: Iterable[dict[str, np.ndarray]],
  mesh: Mesh,
) -> Iterator[tuple[Any, np.ndarray]]:
  """Yields features of host batches [b,D], "label" [b,...], batch by batch, everywhere.

  `embed` is jitted and maps a batch of global arrays, split over `mesh`, to [B,D] or a
  tree of such. Every batch is padded to the first one's size, so it compiles once. A
  batch's "mask" bool [B], where there is one, is False for rows that count for nothing.
  Each process passes its own share, in equally many batches of equal first size.
  """
  rows, in_flight = 0, collections.deque()
  for batch in batches:
    rows = rows or _round_up(len(batch["label"]), len(mesh.local_devices))
    batch = sharding.put_batch(_pad(batch, rows), sharding.by_rows(mesh))
    mask = batch.pop("mask")
    in_flight.append((embed(batch), batch["label"], mask))
    if len(in_flight) > IN_FLIGHT:
      yield _gather(in_flight.popleft())
  if not rows:
    raise ConfigError(
      "data for evaluation has 0 pictures, it needs at least one; name a split that "
      "has some, or leave the evaluators out"
    )
  yield from map(_gather, in_flight)


def collect(
  embed: Callable[[dict[str, jax.Array]], jax.Array],
  train: Iterable[dict[str, np.ndarray]],
  test: Iterable[dict[str, np.ndarray]],
  num_classes: int,
  mesh: Mesh,
) -> FeatureSet:
  """Extracts both splits' features, with labels as they come: -1 for none."""

  def both(batches):
    for batch in batches:
      pairs = np.stack([batch["label"], batch["index"]], axis=1)
      yield {**batch, "label": pairs}

  train_x, train = extract(embed, both(train), mesh)
  test_x, test = extract(embed, both(test), mesh)
  (train_y, train_index), (test_y, test_index) = train.T, test.T
  places = {"train_index": train_index, "test_index": test_index}
  return FeatureSet(train_x, train_y, test_x, test_y, num_classes, **places)


def check_labels(labels: np.ndarray, num_classes: int) -> None:
  """Raises ConfigError unless all labels are classes, or -1."""
  bad_labels = labels[(labels < -1) | (labels >= num_classes)]
  if len(bad_labels) and num_classes:
    raise ConfigError(
      f"label={bad_labels[0]} is not one of the {num_classes} classes of the training "
      f"split, 0..{num_classes - 1}; correct the labels, or leave the evaluators out"
    )


@jax.jit
def raw_pixels(batch: dict[str, jax.Array]) -> jax.Array:
  """Flattens uint8 [B,H,W,C] to f32 [B,S*S*C] in [0,1]: an encoder that does nothing.

  Pictures larger than 32 pixels are scaled down to that: at 256 those of ImageNet
  would fill a terabyte.

  Its cosines are those of uncentred pixels. Report `centred` ones, and say so: with
  kNN on CIFAR-10 centred pixels reach 41.3 and uncentred ones 30.9.
  """
  side = min(batch["image"].shape[1], RAW_SIDE)
  image = views.whole(batch, side)["image"]
  return image.reshape(len(image), -1).astype(np.float32) / 255.0


@functools.partial(jax.jit, static_argnames="block")
def raw_patches(batch: dict[str, jax.Array], block: str = "") -> jax.Array:
  """Cuts uint8 [B,H,W,C] into 4 x 4 patches: their pixels, f32 [B,4,4,D] in [0,1].

  Of pictures scaled as for `raw_pixels`, whatever the `block`.
  """
  side = min(batch["image"].shape[1], RAW_SIDE)
  return dense.raw_patches(views.whole(batch, side)["image"], RAW_GRID, RAW_GRID)


@jax.jit
def log_spectrum(batch: dict[str, jax.Array]) -> jax.Array:
  """Measures audio int16 [B,L] -> f32 [B,256], log magnitudes in even bands.

  Without phase, as an ear: raw samples of two recordings are never alike.
  """
  samples = batch["audio"].astype(np.float32) / 32768
  magnitude = jnp.abs(jnp.fft.rfft(samples))
  bands = jax.image.resize(magnitude, (len(samples), SPECTRUM_BANDS), "linear")
  return jnp.log(bands + 1e-3)


@jax.jit
def token_counts(batch: dict[str, jax.Array]) -> jax.Array:
  """Counts token ids of text i32 [B,...], modulo 4096 -> f32 [B,4096].

  0 is padding and not counted.
  """
  text = batch["text"].reshape(len(batch["text"]), -1)
  rows = jnp.broadcast_to(jnp.arange(len(text))[:, None], text.shape)
  counts = jnp.zeros((len(text), TOKEN_BUCKETS))
  return counts.at[rows, text % TOKEN_BUCKETS].add((text > 0).astype(np.float32))


# By what an encoder sees: what stands beside it, and the encoder that does nothing.
RAW = {
  "image": ("raw pixels, centred", raw_pixels),
  "audio": ("log spectrum, centred", log_spectrum),
  "text": ("token counts, centred", token_counts),
}


def centred(features: FeatureSet) -> FeatureSet:
  """Subtracts the mean of the train features wherever features come from."""
  mean, look = features.train_x.mean(0, keepdims=True), features.look
  return features._replace(
    train_x=features.train_x - mean,
    test_x=features.test_x - mean,
    look=look and (lambda *asked: look(*asked) - mean),
  )


def labelled(features: FeatureSet) -> FeatureSet:
  """Drops the examples that have no label (-1), in both splits.

  ConfigError on a label that is none of the classes.
  """
  for labels in (features.train_y, features.test_y):
    check_labels(labels, features.num_classes)
  train, test = (np.flatnonzero(y >= 0) for y in (features.train_y, features.test_y))
  if len(train) == len(features.train_y) and len(test) == len(features.test_y):
    return features
  look, draw, patches = features.look, features.draw, features.patches

  def take(x, rows):
    return None if x is None else x[rows]

  return features._replace(
    **{k: take(getattr(features, k), train) for k in TRAIN},
    **{k: take(getattr(features, k), test) for k in TEST},
    look=look and (lambda change, rows=None: look(change, take(test, _all(rows)))),
    draw=draw and (lambda n, rows=None: draw(n, take(test, _all(rows)))),
    assign=None,
    patches=patches and (lambda block="": patches(block, (train, test))),
  )


def _all(rows: Any) -> Any:
  return slice(None) if rows is None else rows


def at_most(k: Any, most: int) -> Any:
  """Lowers a number, or several, to at most `most`: of several those that fit stay."""
  if isinstance(k, int):
    return min(k, most)
  return tuple(x for x in k if x <= most) or (most,)


def unit(x: np.ndarray) -> np.ndarray:
  """Scales each row of [...,D] to length 1; a row of zeros stays."""
  return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def ask(function: Callable[[Any], Any], queries: Any, gallery: int) -> Any:
  """Maps a function of one query to a gallery of so many over `queries`' axis 0.

  As many at once as there is memory for; traced.
  """
  return jax.lax.map(function, queries, batch_size=max(1, SIMILARITIES // gallery))


def accuracy(scores: np.ndarray, labels: np.ndarray, top: int = 1) -> float:
  """Measures the % of rows of scores [N,C] whose label [N] is among the `top` highest.

  Among equal scores the lower class comes first.
  """
  best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
  return 100 * float(np.mean(np.any(best == labels[:, None], axis=1)))


def _round_up(n: int, multiple: int) -> int:
  return -(-n // multiple) * multiple


def _pad(batch: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
  """Repeats the last row up to `rows`, and masks the repetitions out."""
  n = len(batch["label"])
  mask = np.zeros(rows, bool)
  mask[:n] = batch.get("mask", True)
  repeat = np.minimum(np.arange(rows), n - 1)
  return {name: x[repeat] for name, x in batch.items()} | {"mask": mask}


def _gather(arrays: tuple[Any, ...]) -> tuple[Any, np.ndarray]:
  features, labels, mask = multihost_utils.process_allgather(arrays, tiled=True)
  return jax.tree.map(lambda x: x[mask], features), labels[mask]
