"""Copy detection: whether an edited picture finds the one it was made of."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import fields
from ssljax.augment import image
from ssljax.evals import corruptions
from ssljax.evals.corruptions import blur, compression, light
from ssljax.evals.features import FeatureSet, ask, unit
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, OneOf, Seed

# An edit is a function of one picture: (key, f32 [3,S,S] in [0,1]) -> [3,S,S].


def crop(key: jax.Array, x: jax.Array, area: float) -> jax.Array:
  """Crops a square of that share of the surface, somewhere, enlarged to the whole."""
  side = x.shape[1]
  scale = jnp.full(2, area**-0.5)
  room = side * (scale - 1)  # beyond the frame, of the enlarged picture
  start = -room * jax.random.uniform(key, (2,))
  return jax.image.scale_and_translate(x, x.shape, (1, 2), scale, start, "linear")


def blurred(key: jax.Array, x: jax.Array, share: float) -> jax.Array:
  """Blurs a picture by a Gaussian whose deviation is that share of the side."""
  side = x.shape[1]
  (taps,) = blur.gaussians((share * side,), side)
  return blur.gaussian(key, x, jnp.asarray(taps, jnp.float32))


def compressed(key: jax.Array, x: jax.Array, quality: int) -> jax.Array:
  """Compresses by JPEG; Copydays has qualities 75, 50, 30, 20, 15, 10, 8, 5 and 3."""
  (tables,) = compression.qualities((quality,), x.shape[1])
  return compression.jpeg(key, x, jnp.asarray(tables, jnp.float32))


def relit(key: jax.Array, x: jax.Array, brighter: float, contrast: float) -> jax.Array:
  """Changes a picture's brightness, then its contrast, by factors."""
  x = image.colour(x, jnp.int32(0), jnp.float32(brighter))
  return image.colour(x, jnp.int32(1), jnp.float32(contrast))


def turned(key: jax.Array, x: jax.Array) -> jax.Array:
  """Turns a picture by a quarter, to the left or to the right."""
  right = jax.random.bernoulli(key)
  return jnp.where(right, jnp.rot90(x, -1, (1, 2)), jnp.rot90(x, 1, (1, 2)))


def written(key: jax.Array, x: jax.Array, share: float) -> jax.Array:
  """Draws a white band over a share of the height, with black marks on it as text."""
  side = x.shape[1]
  key_band, key_marks = jax.random.split(key)
  mark = max(1, side // 32)  # pixels
  cells = -(-side // mark)
  ink = jax.random.bernoulli(key_marks, 0.5, (cells, cells)).astype(jnp.float32)
  ink = jnp.repeat(jnp.repeat(ink, mark, 0), mark, 1)[:side, :side]
  height = round(share * side)
  row = jnp.arange(side)
  top = jax.random.randint(key_band, (), 0, side - height + 1)
  band = (top <= row) & (row < top + height)
  return jnp.where(band[None, :, None], ink[None], x)


def mixed(key: jax.Array, x: jax.Array, share: float) -> jax.Array:
  """Mixes a picture with coloured clouds, their `share` of the whole."""
  clouds = [light.plasma(k, x.shape[1], 1.5) for k in jax.random.split(key, 3)]
  return (1 - share) * x + share * jnp.stack(clouds)


EDITS = {
  "crop": partial(crop, area=0.5),
  "crop_strong": partial(crop, area=0.2),
  "jpeg": partial(compressed, quality=30),
  "jpeg_strong": partial(compressed, quality=5),
  "blur": partial(blurred, share=1 / 32),
  "blur_strong": partial(blurred, share=1 / 12),
  "light": partial(relit, brighter=1.3, contrast=0.8),
  "light_strong": partial(relit, brighter=1.8, contrast=0.4),
  "turned": turned,
  "written": partial(written, share=0.25),
  "mixed": partial(mixed, share=0.4),
}


@fields.checked("copies")
def evaluate(
  features: FeatureSet,
  *,
  edits: Sequence[Annotated[str, OneOf(EDITS)]] = (),
  queries: Count = 500,
  seed: Seed = 0,
) -> dict[str, float]:
  """Measures copy detection -> {"copy_map", "copy_recall_1", "copy_<edit>"} in %.

  "copy_recall_1" is over all edits, "copy_<edit>" the mAP of one.

  As on Copydays (Douze et al. 2009) and in DINO (Caron et al. 2021, section 4.2), with
  the test split for a database and edits made on the device: each of `queries` random
  pictures, edited, ranks all of them by cosine. One is right, so average precision is
  1 / rank; of equally similar ones it comes last. `edits` are some of `EDITS`; (): all.
  """
  if features.look is None:
    raise ConfigError(
      "copies edits pictures, and this encoder's input is none; leave the evaluator "
      "copies out"
    )
  chosen = np.random.default_rng(seed).permutation(len(features.test_x))[:queries]
  originals, ranks_of_edit = unit(features.test_x), {}
  for name in edits or EDITS:
    edited = features.look(partial(_change, name=name), chosen)
    ranks_of_edit[name] = ranks(originals, unit(edited), chosen)
  every = np.concatenate(list(ranks_of_edit.values()))
  return {
    "copy_map": 100 * float(np.mean(1 / every)),
    "copy_recall_1": 100 * float(np.mean(every == 1)),
    **{
      f"copy_{k}": 100 * float(np.mean(1 / rank)) for k, rank in ranks_of_edit.items()
    },
  }


def limits(train_y: np.ndarray, test_y: np.ndarray, numbers: Mapping[str, Any]):
  """Lowers the queries to the number of test pictures."""
  n = len(test_y)
  yield "queries", min(numbers["queries"], n), f"there are {n} test pictures"


def ranks(originals: np.ndarray, copies: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Ranks unit vectors [M,D] by copies [Q,D] -> i32 [Q], the rank of `target` [Q]."""
  queries = jnp.asarray(copies), jnp.asarray(target, jnp.int32)
  return np.asarray(_ranks(jnp.asarray(originals), queries))


@jax.jit
def _ranks(originals, queries):
  def one(query):
    copy, target = query
    cosines = jnp.matmul(originals, copy, precision="highest")
    return len(cosines) - jnp.sum(cosines < cosines[target])

  return ask(one, queries, len(originals))


@partial(jax.jit, static_argnames="name")
def _change(keys, images, *, name):
  return corruptions.over_batch(EDITS[name])(keys, images)
