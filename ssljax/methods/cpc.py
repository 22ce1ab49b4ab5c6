"""CPC (van den Oord et al. 2018): predict the latents of what comes next."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import core
from ssljax.core import Aux, Encoded, Method
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, Number
from ssljax.losses import sequence
from ssljax.nets import Contextual


@dataclasses.dataclass(frozen=True)
class CPC(Method):
  """CPC, section 2: what its three classes share, one for each kind of input.

  The loss is the mean over the steps ahead. Negatives are all other latents of the
  batch, or with `negatives` that many, drawn for each example from all latents of the
  batch. (The paper draws from the examples of one GPU.)
  """

  net: Contextual
  negatives: Number = 0  # 0: all
  num_views: ClassVar[int] = 1
  keyed: ClassVar[bool] = False
  needs_heads: ClassVar[tuple[str, ...]] = ("forecast",)
  features: ClassVar[str] = "latents"  # the output whose mean is judged

  def encode(self, params, state, batch, rng):
    """Encodes one view of each example -> latents, their predictions, features."""
    rng_cut, _ = jax.random.split(rng)
    x = self.cut(batch[self.input][:, 0], core.keys(rng_cut, batch["index"]))
    outputs, stats = self.forward(params, state.batch_stats, {self.input: x})
    latents = outputs["latents"]
    rows = {  # the latents are what the loss compares, each as if it were a view
      "features": self.pool(outputs)[:, None],
      "projection": latents.reshape(latents.shape[0], -1, latents.shape[-1]),
      "latents": latents,
      "predictions": outputs["predictions"],
    }
    return Encoded(rows, stats)

  def objective(self, params, rows, state, batch, rng):
    """Computes InfoNCE (eq. 4) of every step ahead, over all latents of the batch."""
    _, rng_negatives = jax.random.split(rng)
    latents, negatives = rows["latents"], None
    if self.negatives:
      positions = latents[0, ..., 0].size
      negatives = draw(rng_negatives, batch["index"], positions, self.negatives)
    losses = sequence.cpc(rows["predictions"], latents, negatives)
    metrics = {"loss_next": losses[0], "loss_farthest": losses[-1]}
    return losses.mean(), Aux(metrics=metrics)

  def cut(self, x, keys=None):
    """Cuts an input [B,...] into the pieces that the network sees, by `keys` [B]."""
    return x

  def pool(self, outputs):
    """Averages the outputs over positions -> features [B,D]."""
    x = outputs[self.features]
    return x.mean(tuple(range(1, x.ndim - 1)))

  def see(self, x):
    """Cuts an input [B,...] into the pieces that the encoder sees, none drawn."""
    return {self.input: self.cut(x)}

  def embed(self, state, x):
    """Computes the features [B,D] f32 of an input [B,...]: the mean over positions."""
    return self.pool(self.apply(state, x))


@dataclasses.dataclass(frozen=True)
class ImageCPC(CPC):
  """CPC, section 3.2: rows of a grid of overlapping patches, from the top down.

  In training a patch keeps a random `patch_crop` square of itself, in the middle of
  zeros. What is judged is the mean of the latents.
  """

  patch_size: Count = 64
  patch_stride: Count = 32
  patch_crop: Count = 60

  def __post_init__(self):
    """Raises ConfigError on squares that are larger than the patches."""
    super().__post_init__()
    if self.patch_crop > self.patch_size:
      raise ConfigError(
        f"method.patch_crop={self.patch_crop} must be at most "
        f"patch_size={self.patch_size}, the side of the patch it is cut from"
      )

  def cut(self, x, keys=None):
    """Cuts pictures [B,H,W,C] into overlapping patches [B,R,S,size,size,C]."""
    grid = patches(x, self.patch_size, self.patch_stride)
    if keys is None:
      return grid
    shape, slack = (*grid.shape[1:3], 2), self.patch_size - self.patch_crop
    draw = jax.vmap(lambda key: jax.random.randint(key, shape, 0, slack + 1))
    return subcrop(grid, draw(keys), self.patch_crop)


@dataclasses.dataclass(frozen=True)
class AudioCPC(CPC):
  """CPC, section 3.1: raw sound. What is judged is the mean of the context."""

  input: ClassVar[str] = "audio"
  features: ClassVar[str] = "context"


@dataclasses.dataclass(frozen=True)
class TextCPC(CPC):
  """CPC, section 3.3: sentences in a row. What is judged is each one's encoding."""

  input: ClassVar[str] = "text"


def patches(image: jax.Array, size: int, stride: int) -> jax.Array:
  """Cuts images [B,H,W,C] into patches [B,R,S,size,size,C]; a remainder is left out."""
  if size > min(image.shape[1:3]):
    raise ConfigError(
      f"patch_size={size} is larger than the picture of {image.shape[1]} x "
      f"{image.shape[2]} pixels; try {min(image.shape[1:3]) // 4}"
    )
  rows, columns = (
    np.arange(0, side - size + 1, stride)[:, None] + np.arange(size)[None]
    for side in image.shape[1:3]
  )
  return image[:, rows][:, :, :, columns].swapaxes(2, 3)


def subcrop(patch: jax.Array, corner: jax.Array, size: int) -> jax.Array:
  """Cuts a square of each patch [...,h,w,C] at `corner` i32 [...,2], amid zeros."""
  h, w, c = patch.shape[-3:]

  def one(patch, corner):
    return jax.lax.dynamic_slice(patch, (corner[0], corner[1], 0), (size, size, c))

  square = jax.vmap(one)(patch.reshape(-1, h, w, c), corner.reshape(-1, 2))
  top, left = (h - size) // 2, (w - size) // 2
  pad = (0, 0), (top, h - size - top), (left, w - size - left), (0, 0)
  return jnp.pad(square, pad).reshape(patch.shape)


def draw(rng: jax.Array, index: jax.Array, positions: int, count: int) -> jax.Array:
  """Draws `count` of the batch's B * positions latents for each example: i32 [B,count].

  What an example draws is a position of the example of some rank by index: the same
  latents in whatever order the batch comes, and on whatever devices.
  """
  total = len(index) * positions
  ranked = jax.vmap(lambda key: jax.random.randint(key, (count,), 0, total))
  number = ranked(core.keys(rng, index))
  return jnp.argsort(index)[number // positions] * positions + number % positions
