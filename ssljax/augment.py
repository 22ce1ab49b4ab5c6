"""Views: what each paper does to a picture, as numbers, and the code that does it.

All recipes share torchvision's operations (`image.py`), as most official code does;
SimCLR's and BYOL's own code differs in that it adds brightness and takes contrast
about the mean of each channel; SimCLR's does not normalise by ImageNet's mean and
deviation either. Runs on the device, inside the train step.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import image as ops
from ssljax.fields import check_choice, check_names

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIGMA = (0.1, 2.0)  # of every paper's blur, in pixels
NO_BLUR = 0.01  # a Gaussian so narrow that it is the identity


@dataclasses.dataclass(frozen=True)
class View:
  """One random view: crop, flip, jitter, gray, blur, solarize, in this order.

  `flip` and names in `_p` are probabilities; `jitter` holds the strengths of
  brightness, contrast, saturation (factors in 1 ± s) and hue (turns in ± s).
  """

  size: int = 224
  crop_min: float = 0.08  # fraction of the picture's area
  crop_max: float = 1.0
  interpolation: str = "bilinear"
  flip: float = 0.5
  jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.4)
  jitter_p: float = 1.0
  gray_p: float = 0.2
  gray_first: bool = False  # before the jitter, as InstDisc's and MoCo v1's code has it
  blur_p: float = 0.0
  solarize_p: float = 0.0

  def __post_init__(self):
    check_choice("augment.interpolation", self.interpolation, ops.FILTERS)
    if len(self.jitter) != 4 or not 0 <= self.jitter[3] <= 0.5:
      raise ValueError(
        f"augment.jitter={self.jitter} must be four strengths (brightness, contrast, "
        "saturation, hue) with hue in 0..0.5; try (0.4, 0.4, 0.4, 0.1)"
      )
    if not 0 < self.crop_min <= self.crop_max <= 1:
      raise ValueError(
        f"augment crops cover crop_min={self.crop_min} to crop_max={self.crop_max} of "
        "the picture, which must be 0 < crop_min <= crop_max <= 1; try 0.2 and 1.0"
      )

  def draw(self, key: jax.Array, image: jax.Array, aspect: jax.Array) -> jax.Array:
    """uint8 [H,W,3], its true width / height f32[] -> [3,size,size] in [0,1]."""
    u = jax.random.uniform(key, (ops.BOX_DRAWS + 11,))  # one draw is the fast way
    u_box, u = u[: ops.BOX_DRAWS], u[ops.BOX_DRAWS :]
    u_flip, u_jitter, u_order, u_gray, u_blur, u_sigma, u_solarize = u[:7]

    def grayed(x):
      return jnp.where(u_gray < self.gray_p, ops.luma(x)[None], x)

    scale = (self.crop_min, self.crop_max)
    box = ops.crop_box(u_box, scale, *image.shape[:2], aspect)
    x = ops.crop_resize(image, box, u_flip < self.flip, self.size, self.interpolation)
    if self.gray_p and self.gray_first:
      x = grayed(x)
    if self.jitter_p:
      order = jnp.asarray(ops.ORDERS)[(u_order * len(ops.ORDERS)).astype(jnp.int32)]
      x = ops.jitter(x, order, self.jitter_amounts(u[7:], u_jitter < self.jitter_p))
    if self.gray_p and not self.gray_first:
      x = grayed(x)
    if self.blur_p:
      sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * u_sigma
      x = ops.blur(x, jnp.where(u_blur < self.blur_p, sigma, NO_BLUR))
    if self.solarize_p:
      x = jnp.where(u_solarize < self.solarize_p, ops.solarize(x), x)
    return x

  def jitter_amounts(self, u: jax.Array, apply: jax.Array | bool) -> jax.Array:
    """Uniform [4] -> amounts [4] of `image.jitter`, neutral ones unless `apply`."""
    neutral = jnp.array([1.0, 1.0, 1.0, 0.0])
    strength = jnp.array(self.jitter, jnp.float32)
    low = jnp.maximum(neutral - strength, jnp.array([0.0, 0.0, 0.0, -0.5]))
    drawn = low + (neutral + strength - low) * u
    return jnp.where(apply, drawn, neutral)


@dataclasses.dataclass(frozen=True)
class CentreView:
  """The view of evaluation: a central square, resized. Nothing is random.

  `crop` is the square's side as a fraction of the picture's shorter side; ImageNet
  papers take 0.875, which is 224 of 256 pixels.
  """

  size: int = 224
  crop: float = 1.0
  interpolation: str = "bilinear"

  def __post_init__(self):
    check_choice("augment.interpolation", self.interpolation, ops.FILTERS)
    if not 0 < self.crop <= 1:
      raise ValueError(
        f"augment.crop={self.crop} must be in 0..1, a fraction of the shorter side; "
        "try 0.875"
      )

  def draw(self, key: jax.Array, image: jax.Array, aspect: jax.Array) -> jax.Array:
    """uint8 [H,W,3], its true width / height f32[] -> [3,size,size] in [0,1]."""
    height, width, _ = image.shape
    h = jnp.maximum(1.0, height * self.crop * jnp.minimum(1.0, aspect))
    w = jnp.maximum(1.0, width * self.crop * jnp.minimum(1.0, 1 / aspect))
    box = (height - h) / 2, (width - w) / 2, h, w
    return ops.crop_resize(image, box, False, self.size, self.interpolation)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The views of one paper; `local` is drawn `local_views` times, at its own size."""

  views: tuple[View | CentreView, ...]
  local: View | None = None
  local_views: int = 0
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD


_INSTDISC = View(crop_min=0.2, gray_first=True)
_INVASPREAD = View(crop_min=0.2)
_MOCO_V2 = View(crop_min=0.2, jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, blur_p=0.5)
_SIMCLR = View(
  interpolation="bicubic", jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, blur_p=0.5
)
_BYOL = View(
  interpolation="bicubic", jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, blur_p=1.0
)
_BYOL_2 = dataclasses.replace(_BYOL, blur_p=0.1, solarize_p=0.2)
_SWAV = dataclasses.replace(_SIMCLR, interpolation="bilinear", crop_min=0.14)
_SWAV_LOCAL = dataclasses.replace(_SWAV, size=96, crop_min=0.05, crop_max=0.14)
_DINO = dataclasses.replace(_BYOL, crop_min=0.4)
_DINO_2 = dataclasses.replace(_BYOL_2, crop_min=0.4)
_DINO_LOCAL = dataclasses.replace(
  _BYOL, size=96, crop_min=0.05, crop_max=0.4, blur_p=0.5
)

RECIPES = {
  "instdisc": Recipe((_INSTDISC,)),  # Wu et al. 2018
  "invaspread": Recipe((_INVASPREAD, _INVASPREAD)),  # Ye et al. 2019
  "moco_v1": Recipe((_INSTDISC, _INSTDISC)),  # He et al. 2020
  "simclr": Recipe((_SIMCLR, _SIMCLR)),  # Chen et al. 2020
  "moco_v2": Recipe((_MOCO_V2, _MOCO_V2)),  # Chen et al. 2020; SimSiam too
  "byol": Recipe((_BYOL, _BYOL_2)),  # Grill et al. 2020; MoCo v3 too
  "swav": Recipe(  # Caron et al. 2020, with the deviations of its code
    (_SWAV, _SWAV), _SWAV_LOCAL, 6, std=(0.228, 0.224, 0.225)
  ),
  "dino": Recipe((_DINO, _DINO_2), _DINO_LOCAL, 8),  # Caron et al. 2021
  "eval": Recipe((CentreView(),)),
}

_OWN = ("size", "crop_min", "crop_max")  # what local views do not share
_WHOLE = ("local_views", "mean", "std")  # numbers of a Recipe, not of a View


def fields(recipe: str) -> tuple[str, ...]:
  """The names that a config may override in this recipe."""
  check_choice("augment.recipe", recipe, RECIPES)
  names = [f.name for f in dataclasses.fields(RECIPES[recipe].views[0])]
  if RECIPES[recipe].local:
    names += ["local_views", *(f"local_{name}" for name in _OWN)]
  return (*names, "mean", "std")


def configure(config: Mapping) -> Recipe:
  """The recipe named `config["recipe"]` with the other entries in place of its own.

  A name of a view's number sets it in all views; local views have their own
  `local_size`, `local_crop_min`, `local_crop_max`. Raises ValueError on other names.
  """
  name = config.get("recipe")
  overrides = {k: v for k, v in config.items() if k != "recipe"}
  check_names(f"augment.recipe={name!r}", overrides, fields(name))
  recipe = RECIPES[name]
  whole = {k: overrides.pop(k) for k in _WHOLE if k in overrides}
  own = {k: overrides.pop(f"local_{k}") for k in _OWN if f"local_{k}" in overrides}
  views = tuple(dataclasses.replace(view, **overrides) for view in recipe.views)
  if recipe.local:
    shared = {k: v for k, v in overrides.items() if k not in _OWN}
    whole["local"] = dataclasses.replace(recipe.local, **shared, **own)
  return dataclasses.replace(recipe, views=views, **whole)


def build(config: Mapping, normalise: bool = True) -> Callable:
  """-> views(rng, batch) -> batch, pure; `normalise=False` leaves pictures in [0,1].

  In: "image" uint8 [B,H,W,3], "index" i32 [B], and where pictures were squeezed
  onto the canvas "aspect" f32 [B], their true width / height. Out: "image" f32
  [B,V,size,size,3] normalised, with local views "local" f32 [B,L,size,size,3],
  the other keys as they came. Each view depends on `rng`, its example's index and its
  number alone: not on the batch around it, nor on the devices (save for the last
  bit, which XLA rounds by the shape of the batch).
  """
  recipe = configure(config)
  mean = np.reshape(recipe.mean if normalise else 0, (1, 1, 1, 1, -1))
  std = np.reshape(recipe.std if normalise else 1, (1, 1, 1, 1, -1))

  def stack(views, first, keys, image, aspect):
    parts = []
    for view, run in itertools.groupby(views):
      count = len(list(run))
      draw = functools.partial(_draw, view)
      draw = jax.vmap(draw, (0, None, None, None))  # over views
      draw = jax.vmap(draw, (None, 0, 0, 0))  # over examples
      parts.append(draw(first + jnp.arange(count), keys, image, aspect))
      first += count
    x = jnp.moveaxis(jnp.concatenate(parts, axis=1), 2, 4)
    return (x - mean.astype(np.float32)) / std.astype(np.float32)

  def views(rng, batch):
    image = batch["image"]
    height, width = image.shape[1:3]
    aspect = batch.get("aspect")
    if aspect is None:
      aspect = jnp.full(image.shape[:1], width / height, jnp.float32)
    keys = jax.vmap(functools.partial(jax.random.fold_in, rng))(batch["index"])
    example = keys, image, aspect
    out = {**batch, "image": stack(recipe.views, 0, *example)}
    if recipe.local_views:
      local = recipe.local_views * (recipe.local,)
      out["local"] = stack(local, len(recipe.views), *example)
    return out

  return views


def _draw(view, number, key, image, aspect):
  return view.draw(jax.random.fold_in(key, number), image, aspect)
