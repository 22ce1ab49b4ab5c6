"""Features of the patches of whole pictures, for what has an answer for each pixel."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import augment, core, data
from ssljax.augment import views
from ssljax.core import TrainState
from ssljax.data.source import Subset
from ssljax.evals import dense, features, files
from ssljax.evals.dense import Maps
from ssljax.judge import Judge

RAW = "raw patches, centred"
Embed = Callable[[core.Batch], jax.Array]  # a host batch -> [B,h,w,D]


class Eye(NamedTuple):
  """How pictures are seen: whole, each squeezed to a square."""

  judge: Judge
  size: int  # pixels of the square
  block: str  # of the encoder, whose patches are taken; "": the last
  beside: bool  # whether the picture's own features stand beside each patch's

  def seen(self, batch: core.Batch) -> jax.Array:
    """Makes the view [B,size,size,C] of a host batch, as the encoder takes it."""
    config = self.judge.config.augment
    config = {**augment.evaluation(config, 1.0), "size": self.size}
    square = views.whole(batch, self.size)
    square["aspect"] = jnp.ones(len(square["image"]))
    view = augment.build(config)(jax.random.key(0), square)
    return view[self.judge.method.input][:, 0]

  def embedding(self, state: TrainState) -> Embed:
    """Compiles embed(batch) -> features of patches [B,h,w,D] f32 under `state`."""
    method = self.judge.method

    @jax.jit
    def embed(state, batch):
      x = self.seen(batch)
      patches = method.patches(state, x, self.block)
      if not self.beside:
        return patches
      whole = method.embed(state, x)[:, None, None]
      whole = jnp.broadcast_to(whole, (*patches.shape[:3], whole.shape[-1]))
      return jnp.concatenate([patches, whole], axis=-1)

    return functools.partial(embed, state.replace(opt_state=None))

  def pictures(self, source: data.Source, numbers: Sequence[int]) -> np.ndarray:
    """Fetches examples of a source as they are seen, to look at: uint8 [N,S,S,C]."""
    (batch,) = self.judge.batches(Subset(source, numbers), len(numbers))
    return np.asarray(jax.jit(views.whole, static_argnums=1)(batch, self.size)["image"])

  def raw(self, state: TrainState) -> Embed:
    """Compiles embed(batch) -> the pixels of patches, in the grid of the encoder's."""
    spec = self.judge.splits.train.spec(self.judge.config.data.size)
    blank = data.zeros(spec, 1)
    _, height, width, _ = jax.eval_shape(self.embedding(state), blank).shape

    @jax.jit
    def embed(batch):
      image = views.whole(batch, self.size)["image"]
      return dense.raw_patches(image, height, width)

    return embed


def collect(
  judge: Judge, embed: Embed, finish: Callable[[np.ndarray], np.ndarray]
) -> Maps:
  """Extracts the features of both splits' patches, and `finish`es their truths.

  They lie in temporary files, so that memory stays as it is. The same everywhere.
  """
  train, test = (
    files.stacked(_with_truth(judge, embed, split, finish), len(split))
    for split in judge.splits
  )
  return Maps(*train[:2], *test)


def _with_truth(judge: Judge, embed: Embed, split: data.Source, finish):
  """Yields features [b,h,w,D], truths [b,S,S] and places [b], batch by batch."""

  def both(batch):
    return embed(batch), batch["truth"], batch["index"]

  for (x, y, index), _ in features.extracted(both, judge.batches(split), judge.mesh):
    yield np.asarray(x, np.float32), finish(y), index
