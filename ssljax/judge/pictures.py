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
  features: FeatureSet,
  folder: pathlib.Path,
  *,
  shown: int = 8,
  neighbours: int = 8,
) -> None:
  """Draws what `features` of a state tell about the encoder, a PNG each in `folder`.

  Where they lie and, of what learned from pictures, nearest neighbours, the kNN vote's
  confusions and, where the network has such, attention, patches and the first layer's
  filters. `shown` random test pictures; only process 0 draws. What needs labels is
  left out, or without its colours, where there are none.
  """
  if judge.possible:
    features = judge.labelled(features)
  classes = judge.splits.train.class_names if judge.possible else ()
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    figures.embedding(
      features.test_x, features.test_y, classes, folder / "embedding.png"
    )
  if judge.method.input != "image":
    return
  rng = np.random.default_rng(judge.config.seed)
  chosen = np.sort(rng.permutation(len(features.test_y))[:shown])
  internals = _inside(judge, state, features.test_index[chosen])
  if jax.process_index():
    return
  queries = judge.pictures(judge.splits.eval, features.test_index[chosen])
  cosines = unit(features.test_x[chosen]) @ unit(features.train_x).T
  if not judge.held_out:  # nobody is their own neighbour
    itself = features.test_index[chosen][:, None] == features.train_index[None]
    cosines = np.where(itself, -np.inf, cosines)
    neighbours = min(neighbours, max(1, len(features.train_y) - 1))
  nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
  figures.neighbours(
    queries,
    judge.pictures(judge.splits.train, features.train_index[nearest.ravel()]).reshape(
      *nearest.shape, *queries.shape[1:]
    ),
    features.train_y[nearest] == features.test_y[chosen][:, None]
    if judge.possible
    else None,
    folder / "neighbours.png",
  )
  if judge.possible:
    _confusion(judge, features, folder / "confusion.png")
  if "attention" in internals:
    maps, tokens = internals["attention"], internals["tokens"]
    side = round(tokens.shape[1] ** 0.5)
    maps = maps.reshape(*maps.shape[:2], side, side)
    tokens = tokens.reshape(len(tokens), side, side, -1)
    figures.attention(queries, maps, folder / "attention.png", internals["query"])
    figures.patch_colours(queries, tokens, folder / "patch_colours.png")
  if "filters" in internals:
    figures.filters(internals["filters"], folder / "filters.png")


def draw_more(features: Mapping[str, FeatureSet], folder: pathlib.Path) -> None:
  """Draws how evenly each row's features use their space, and how pairs differ.

  The pairs are those of the last row: two views of a picture, and of two pictures.
  """
  *_, last = features.values()
  views = last.draw(2)
  if jax.process_index():
    return
  spectra = {row: geometry.spectrum(x.test_x) for row, x in features.items()}
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
  """Draws what the method itself has to show, if anything: method.png in `folder`."""
  source = judge.splits.eval or judge.splits.train
  chosen = np.linspace(0, len(source) - 1, METHOD_SHOWN)
  (batch,) = judge.batches(Subset(source, chosen), len(chosen))
  method_pictures = jax.device_get(
    jax.jit(judge.parts.show)(state.replace(opt_state=None), batch)
  )
  if method_pictures and jax.process_index() == 0:
    recipe = augment.configure(judge.config.augment)
    mean, std = np.float32(recipe.mean), np.float32(recipe.std)
    lines = {title: x * std + mean for title, x in method_pictures.items()}
    folder.mkdir(parents=True, exist_ok=True)
    title = "What the method makes of pictures"
    figures.pictures(lines, title, folder / "method.png")


def _inside(
  judge: Judge, state: TrainState, chosen: Sequence[int]
) -> dict[str, np.ndarray | str]:
  """Collects what there is to see in the network while it sees test pictures.

  Of its last block "attention" [B,heads,N] to the patches, whose it is ("query": what
  pools, and where nothing does the mean of all tokens), and the patches' "tokens"
  [B,N,D]; of its first layer "filters" [h,w,C,F].
  """
  state, encoder = state.replace(opt_state=None), judge.method.net.encoder
  (batch,) = judge.batches(Subset(judge.splits.eval, chosen), len(chosen))
  x = judge.parts.seen(batch)
  layers = jax.jit(judge.method.layers)(state, x)
  internals = {}
  if "attention" in layers:
    last, tokens = layers["attention"][-1], layers["tokens"][-1]
    pools = last.shape[2] == 1  # one query, which is no token
    single = pools or "cls" in tokens
    patches = tokens["patches"]
    maps = last[:, :, 0] if single else last.mean(2)
    internals["attention"] = maps[..., -patches.shape[1] :]
    internals["tokens"] = patches
    query = "the query that pools" if pools else "the class token"
    internals["query"] = query if single else "all tokens, their mean"
  weights = judge.method.weights(state)["params"]
  first = [f"encoder/{part}/kernel" for parts in encoder.layers[:1] for part in parts]
  for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
    if paths.name(path).endswith(tuple(first)) and leaf.ndim == 4:
      internals.setdefault("filters", leaf)
  return jax.device_get(internals)


def _confusion(judge: Judge, features: FeatureSet, path: pathlib.Path) -> None:
  """Draws the confusions of the run's own kNN vote, so that both say one number."""
  numbers = {"k": 200, "temperature": 0.1} | judge.numbers["knn"]
  k, temperature = numbers["k"], numbers["temperature"]
  k = min(k if isinstance(k, int) else max(k), len(features.train_y))
  votes = knn.votes(features, k=k, temperature=temperature)
  counts = np.zeros((features.num_classes, features.num_classes), np.int64)
  np.add.at(counts, (features.test_y, votes.argmax(1)), 1)
  vote = f"the kNN vote (k = {k}, temperature {temperature})"
  figures.confusion(counts, judge.splits.train.class_names, vote, path)
