"""A class a pixel, from the frozen features of patches: by neighbours, and linear."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssljax import fields
from ssljax.evals import dense
from ssljax.evals.dense import Maps
from ssljax.evals.features import ask, unit
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, NotNegative, Positive, Seed

NONE = 255  # in a mask: no class, which counts for nothing
WARM_UP = 0.0375  # of the steps: 1500 of 40000
INIT_STD = 0.01
NEVER = -1e9  # the score of a class without a training pixel, as of an ignored number

# Features [B,h,w,D] -> the class of each pixel, uint8 [B,S,S].
Predict = Callable[[jax.Array], jax.Array]


class Neighbours(NamedTuple):
  """The numbers of k-nearest segmentation."""

  k: int
  temperature: float
  bank: int
  seed: int


class Head(NamedTuple):
  """The numbers of the linear head's training."""

  steps: int
  batch: int
  learning_rate: float
  weight_decay: float
  seed: int


@fields.checked("segment")
def predictors(
  maps: Maps,
  num_classes: int,
  *,
  k: Count = 30,
  temperature: Positive = 0.02,
  bank: Count = 50_000,
  steps: Count = 4000,
  batch: Count = 16,
  learning_rate: Positive = 1e-3,
  weight_decay: NotNegative = 1e-4,
  seed: Seed = 0,
) -> dict[str, Predict]:
  """Learns from the training split -> {"knn": predict, "linear": predict}."""
  neighbours = Neighbours(k, temperature, bank, seed)
  head = Head(steps, batch, learning_rate, weight_decay, seed)
  return {
    "knn": nearest(maps, num_classes, neighbours),
    "linear": linear(maps, num_classes, head),
  }


def nearest(maps: Maps, num_classes: int, numbers: Neighbours) -> Predict:
  """Makes k-nearest segmentation, in-context retrieval of Balazevic et al. (2023).

  A patch takes the classes of its `k` most similar patches in a bank, weighted by a
  softmax of cosine / `temperature`; what they are is soft: the share of each class
  among a patch's labelled pixels. Votes are resized to pixels, and the best class is
  taken. The bank is `bank` patches of the training split, drawn alike from all that
  have a labelled pixel; the paper draws those of rare classes more often.
  """
  x, shares = draw_bank(maps.train_x, maps.train_y, num_classes, numbers)
  k, temperature, side = numbers.k, numbers.temperature, maps.test_y.shape[1]
  if k > len(x):
    raise ConfigError(
      f"segment.k={k} must be at most the {len(x)} patches of the bank; set less, or "
      "more patches by --config.segment.bank"
    )

  @jax.jit
  def predict(x, shares, patches):
    def vote(query):
      cosines = jnp.matmul(x, query, precision="highest")
      cosines, rows = jax.lax.top_k(cosines, k)
      weights = jax.nn.softmax(cosines / temperature)
      return jnp.matmul(weights, shares[rows], precision="highest")

    flat = patches.reshape(-1, patches.shape[-1])
    flat = flat / jnp.maximum(jnp.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    votes = ask(vote, flat, len(x)).reshape(*patches.shape[:3], num_classes)
    return dense.resize(votes, side).argmax(3).astype(jnp.uint8)

  return partial(predict, jnp.asarray(unit(x)), jnp.asarray(shares))


def draw_bank(
  x: np.ndarray, masks: np.ndarray, num_classes: int, numbers: Neighbours
) -> tuple[np.ndarray, np.ndarray]:
  """Draws patches of features [N,h,w,D] -> features [M,D], shares of classes [M,C]."""
  height, width = x.shape[1:3]
  grid = partial(shares_of, height=height, width=width, num_classes=num_classes)
  labelled = np.array([grid(mask).any(-1).ravel() for mask in masks])
  places = np.flatnonzero(labelled)
  if not len(places):
    raise ConfigError("no pixel of the training split has a class; see to the masks")
  rng = np.random.default_rng(numbers.seed)
  places = np.sort(rng.permutation(places)[: numbers.bank])
  pictures, patches = np.divmod(places, height * width)
  features, shares = [], []
  starts = np.flatnonzero(np.diff(pictures)) + 1
  for picture, rows in zip(
    pictures[np.r_[0, starts]], np.split(patches, starts), strict=True
  ):
    features.append(x[picture].reshape(height * width, -1)[rows])
    shares.append(grid(masks[picture]).reshape(height * width, -1)[rows])
  return np.concatenate(features), np.concatenate(shares)


def shares_of(
  mask: np.ndarray, height: int, width: int, num_classes: int
) -> np.ndarray:
  """Measures the share of each class among the labelled pixels of patches.

  Of a mask [S,S] -> f32 [height,width,C]; zeros where a patch has none.
  """
  side = len(mask)
  rows, columns = (
    ((np.arange(side) + 0.5) * n / side).astype(int) for n in (height, width)
  )
  patch = rows[:, None] * width + columns[None]
  seen = mask != NONE
  places = patch[seen] * num_classes + mask[seen]
  counts = np.bincount(places, minlength=height * width * num_classes)
  counts = counts.reshape(height, width, num_classes).astype(np.float32)
  return counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def linear(maps: Maps, num_classes: int, numbers: Head) -> Predict:
  """Trains the linear head of DINOv2 (Oquab et al. 2023, section 7.4) for pixels.

  BatchNorm, whose statistics are those of all training patches and whose scale and
  shift are the map's own, a 1x1 convolution, a bilinear resize; cross-entropy over
  labelled pixels and the classes that they have, AdamW, a linear warm-up and decay, as
  in its code: 40000 steps of 16 crops there, whole pictures without augmentation here.
  """
  mean, std = dense.moments(maps.train_x)
  shape = maps.train_x.shape[-1], num_classes
  learned = np.isin(np.arange(num_classes), maps.train_y)
  never = np.where(learned, 0.0, NEVER).astype(np.float32)
  params = {
    "kernel": INIT_STD * jax.random.normal(jax.random.key(numbers.seed), shape),
    "bias": jnp.zeros(num_classes),
  }
  warm_up = int(WARM_UP * numbers.steps)
  decay = optax.linear_schedule(numbers.learning_rate, 0.0, numbers.steps)

  def schedule(step):
    return decay(step) * jnp.minimum(1.0, (step + 1) / max(1, warm_up))

  def logits(params, patches, side):
    patches = (patches - mean[None, None, None]) / std[None, None, None]
    scores = jnp.einsum("bhwd,dc->bhwc", patches, params["kernel"], precision="highest")
    return dense.resize(scores + (params["bias"] + never)[None, None, None], side)

  def loss(params, rows, step):
    patches, mask = rows
    scores, seen = logits(params, patches, mask.shape[1]), mask != NONE
    classes = jnp.where(seen, mask, 0).astype(jnp.int32)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, classes)
    weights = seen.astype(jnp.float32)
    return jnp.sum(weights * losses) / jnp.maximum(weights.sum(), 1.0)

  params = dense.train(
    loss,
    params,
    (maps.train_x, maps.train_y),
    steps=numbers.steps,
    batch=numbers.batch,
    schedule=schedule,
    weight_decay=numbers.weight_decay,
    seed=numbers.seed,
  )
  side = maps.test_y.shape[1]
  return jax.jit(lambda x: logits(params, x, side).argmax(3).astype(jnp.uint8))


def confusion(
  predict: Predict, x: np.ndarray, masks: np.ndarray, num_classes: int
) -> np.ndarray:
  """Counts pixels of masks [M,S,S], true class by predicted: i64 [C,C]."""
  counts = np.zeros((num_classes, num_classes), np.int64)
  for rows, predicted in dense.in_batches(predict, x):
    counts += tally(masks[rows], predicted, num_classes)
  return counts


def tally(masks: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
  """Counts the pixels that have a class, true by predicted: i64 [C,C]."""
  seen = masks != NONE
  pairs = masks[seen].astype(np.int64) * num_classes + predicted[seen]
  counts = np.bincount(pairs, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def scores(counts: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
  """Measures {"miou": %, "pixel_accuracy": %} of counts [C,C], and IoU [C] in %.

  A class's intersection and union are those of all pictures together; it counts in the
  mean where it is in a mask or predicted, and is NaN elsewhere.
  """
  inside = np.diag(counts).astype(np.float64)
  union = counts.sum(0) + counts.sum(1) - inside
  with np.errstate(invalid="ignore", divide="ignore"):
    iou = 100 * inside / union
  accuracy = 100 * inside.sum() / max(counts.sum(), 1)
  return {"miou": float(np.nanmean(iou)), "pixel_accuracy": float(accuracy)}, iou
