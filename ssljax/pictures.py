"""What an encoder sees, drawn: the pictures of a run's report."""

import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from ssljax import augment, figures, paths
from ssljax.core import TrainState
from ssljax.data.source import Subset
from ssljax.evals import geometry, knn
from ssljax.evals.features import FeatureSet, unit
from ssljax.judge import Judge

METHOD_SHOWN = 8  # pictures, from all over the data
PAIRS = 5000  # of each kind in the histograms


def draw(
  judge: Judge,
  state: TrainState,
  seen: FeatureSet,
  folder: pathlib.Path,
  *,
  shown: int = 8,
  neighbours: int = 8,
) -> None:
  """What the features `seen` under `state` tell, a PNG each in `folder`.

  Where they lie and, of what learned from pictures, nearest neighbours, the kNN vote's
  confusions and, where the network has such, attention, patches and the first layer's
  filters. `shown` random test pictures; only process 0 draws. What needs labels is
  left out, or without its colours, where there are none.
  """
  if judge.possible:
    seen = judge.labelled(seen)
  classes = judge.splits.train.class_names if judge.possible else ()
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    figures.embedding(seen.test_x, seen.test_y, classes, folder / "embedding.png")
  if judge.method.input != "image":
    return
  rng = np.random.default_rng(judge.config.seed)
  chosen = np.sort(rng.permutation(len(seen.test_y))[:shown])
  inside = _inside(judge, state, seen.test_index[chosen])
  if jax.process_index():
    return
  queries = judge.pictures(judge.splits.eval, seen.test_index[chosen])
  cosines = unit(seen.test_x[chosen]) @ unit(seen.train_x).T
  if judge.splits.eval is judge.splits.train:  # nobody is their own neighbour
    itself = seen.test_index[chosen][:, None] == seen.train_index[None]
    cosines = np.where(itself, -np.inf, cosines)
    neighbours = min(neighbours, max(1, len(seen.train_y) - 1))
  found = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
  figures.neighbours(
    queries,
    judge.pictures(judge.splits.train, seen.train_index[found.ravel()]).reshape(
      *found.shape, *queries.shape[1:]
    ),
    seen.train_y[found] == seen.test_y[chosen][:, None] if judge.possible else None,
    folder / "neighbours.png",
  )
  if judge.possible:
    _confusion(judge, seen, folder / "confusion.png")
  if "attention" in inside:
    maps, tokens = inside["attention"], inside["tokens"]
    side = round(tokens.shape[1] ** 0.5)
    maps = maps.reshape(*maps.shape[:2], side, side)
    tokens = tokens.reshape(len(tokens), side, side, -1)
    figures.attention(queries, maps, folder / "attention.png")
    figures.patch_colours(queries, tokens, folder / "patch_colours.png")
  if "filters" in inside:
    figures.filters(inside["filters"], folder / "filters.png")


def draw_more(seen: Mapping[str, FeatureSet], folder: pathlib.Path) -> None:
  """Row -> its features: how evenly they use their space, and how pairs differ.

  The pairs are those of the last row: two views of a picture, and of two pictures.
  """
  *_, last = seen.values()
  views = last.draw(2)
  if jax.process_index():
    return
  spectra = {row: geometry.spectrum(x.test_x) for row, x in seen.items()}
  figures.spectra(spectra, folder / "spectra.png")
  if len(views) < 2:
    return  # no pair of different pictures
  rng = np.random.default_rng(0)
  views = unit(views)[rng.permutation(len(views))[:PAIRS]]
  first, second = views[:, 0], views[:, 1]
  figures.similarities(
    (first * second).sum(1),
    (first * np.roll(second, 1, axis=0)).sum(1),
    folder / "similarities.png",
  )


def draw_method(judge: Judge, state: TrainState, folder: pathlib.Path) -> None:
  """method.png in `folder`: what the method itself has to show, if anything."""
  source = judge.splits.eval or judge.splits.train
  chosen = np.linspace(0, len(source) - 1, METHOD_SHOWN)
  (batch,) = judge.batches(Subset(source, chosen), len(chosen))
  made = jax.device_get(jax.jit(judge.parts.show)(state.replace(opt_state=None), batch))
  if made and jax.process_index() == 0:
    recipe = augment.configure(judge.config.augment)
    mean, std = np.float32(recipe.mean), np.float32(recipe.std)
    lines = {title: x * std + mean for title, x in made.items()}
    folder.mkdir(parents=True, exist_ok=True)
    title = "What the method makes of pictures"
    figures.pictures(lines, title, folder / "method.png")


def _inside(
  judge: Judge, state: TrainState, chosen: Sequence[int]
) -> dict[str, np.ndarray]:
  """What there is to see in the network while it sees test pictures.

  Of its last block "attention" [B,heads,N] of the class token to the patches, and their
  "tokens" [B,N,D]; of its first layer "filters" [h,w,C,F].
  """
  state, encoder = state.replace(opt_state=None), judge.method.net.encoder
  (batch,) = judge.batches(Subset(judge.splits.eval, chosen), len(chosen))
  x = judge.parts.seen(batch)
  layers = jax.jit(judge.method.layers)(state, x)
  found = {}
  if "attention" in layers:
    patches = layers["tokens"][-1]["patches"]
    found["attention"] = layers["attention"][-1][:, :, 0, -patches.shape[1] :]
    found["tokens"] = patches
  weights = judge.method.weights(state)["params"]
  first = [f"encoder/{part}/kernel" for parts in encoder.layers[:1] for part in parts]
  for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
    if paths.name(path).endswith(tuple(first)) and leaf.ndim == 4:
      found.setdefault("filters", leaf)
  return jax.device_get(found)


def _confusion(judge: Judge, seen: FeatureSet, path: pathlib.Path) -> None:
  """Of the vote that is the run's own kNN, so that both say the same number."""
  numbers = {"k": 200, "temperature": 0.1} | judge.numbers["knn"]
  k, temperature = numbers["k"], numbers["temperature"]
  k = min(k if isinstance(k, int) else max(k), len(seen.train_y))
  votes = knn.votes(seen, k=k, temperature=temperature)
  counts = np.zeros((seen.num_classes, seen.num_classes), np.int64)
  np.add.at(counts, (seen.test_y, votes.argmax(1)), 1)
  vote = f"the kNN vote (k = {k}, temperature {temperature})"
  figures.confusion(counts, judge.splits.train.class_names, vote, path)
