"""Views: what each paper does to a picture, as numbers, and the code that does it.

All recipes share torchvision's operations (`image.py`), as most official code does;
SimCLR's and BYOL's own code differs in that it adds brightness and takes contrast
about the mean of each channel. Runs on the device, inside the train step.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from ssljax import image as ops

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIGMA = (0.1, 2.0)  # of every paper's blur, in pixels
NO_BLUR = 0.01  # a Gaussian so narrow that it is the identity


@dataclasses.dataclass(frozen=True)
class View:
  """One random view: crop, flip, jitter, grey, blur, solarize, in this order.

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
  gray_first: bool = (
    False  # grey before the jitter, as in InstDisc's and MoCo v1's code
  )
  blur_p: float = 0.0
  solarize_p: float = 0.0

  def __post_init__(self):
    _check_interpolation(self.interpolation)
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
    u = jax.random.uniform(key, (ops.BOX_DRAWS + 11,))  # one draw: threefry is dear
    flip, jittered, order, *strengths, gray, blurred, sigma, solarized = u[
      ops.BOX_DRAWS :
    ]
    scale = (self.crop_min, self.crop_max)
    box = ops.crop_box(u[: ops.BOX_DRAWS], scale, *image.shape[:2], aspect)
    x = ops.crop_resize(image, box, flip < self.flip, self.size, self.interpolation)
    if self.gray_first:
      x = jnp.where(gray < self.gray_p, ops.luma(x)[None], x)
    if self.jitter_p:
      amounts = self.jitter_amounts(jnp.stack(strengths), jittered < self.jitter_p)
      order = jnp.asarray(ops.ORDERS)[(order * len(ops.ORDERS)).astype(jnp.int32)]
      x = ops.jitter(x, order, amounts)
    if self.gray_p and not self.gray_first:
      x = jnp.where(gray < self.gray_p, ops.luma(x)[None], x)
    if self.blur_p:
      sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * sigma
      x = ops.blur(x, jnp.where(blurred < self.blur_p, sigma, NO_BLUR))
    if self.solarize_p:
      x = jnp.where(solarized < self.solarize_p, ops.solarize(x), x)
    return x

  def jitter_amounts(self, u: jax.Array, apply: jax.Array | bool) -> jax.Array:
    """Uniform [4] -> what `image.jitter` takes [4]; what changes nothing, if not."""
    neutral = jnp.array([1.0, 1.0, 1.0, 0.0])
    strength = jnp.array(self.jitter, jnp.float32)
    low = neutral - strength
    low = jnp.where(neutral == 1, jnp.maximum(low, 0.0), low)
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
    _check_interpolation(self.interpolation)
    if not 0 < self.crop <= 1:
      raise ValueError(
        f"augment.crop={self.crop} must be in 0..1, a fraction of the shorter side; "
        "try 0.875"
      )

  def draw(self, key: jax.Array, image: jax.Array, aspect: jax.Array) -> jax.Array:
    """uint8 [H,W,3], its true width / height f32[] -> [3,size,size] in [0,1]."""
    height, width, _ = image.shape
    h = height * self.crop * jnp.minimum(1.0, aspect)
    w = width * self.crop * jnp.minimum(1.0, 1 / aspect)
    box = (height - h) / 2, (width - w) / 2, h, w
    return ops.crop_resize(image, box, False, self.size, self.interpolation)


def _check_interpolation(interpolation: str) -> None:
  if interpolation not in ops.FILTERS:
    raise ValueError(
      f"augment.interpolation={interpolation!r} is not known; "
      f"choose from {', '.join(ops.FILTERS)}"
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The views of one paper; `local` is drawn `local_views` times, at its own size."""

  views: tuple[View | CentreView, ...]
  local: View | None = None
  local_views: int = 0
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD


_INSTDISC = View(crop_min=0.2, gray_first=True)
_MOCO_V2 = View(crop_min=0.2, jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, blur_p=0.5)
_SIMCLR = View(
  interpolation="bicubic", jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, blur_p=0.5
)
_BYOL = View(
  interpolation="bicubic", jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, blur_p=1.0
)
_BYOL_2 = dataclasses.replace(_BYOL, blur_p=0.1, solarize_p=0.2)
_DINO = dataclasses.replace(_BYOL, crop_min=0.4)
_DINO_2 = dataclasses.replace(_BYOL_2, crop_min=0.4)
_DINO_LOCAL = dataclasses.replace(
  _BYOL, size=96, crop_min=0.05, crop_max=0.4, blur_p=0.5
)

RECIPES = {
  "instdisc": Recipe((_INSTDISC,)),  # Wu et al. 2018
  "moco_v1": Recipe((_INSTDISC, _INSTDISC)),  # He et al. 2020
  "simclr": Recipe((_SIMCLR, _SIMCLR)),  # Chen et al. 2020
  "moco_v2": Recipe((_MOCO_V2, _MOCO_V2)),  # Chen et al. 2020; SimSiam too
  "byol": Recipe((_BYOL, _BYOL_2)),  # Grill et al. 2020; MoCo v3 too
  "dino": Recipe((_DINO, _DINO_2), _DINO_LOCAL, 8),  # Caron et al. 2021
  "eval": Recipe((CentreView(),)),
}

_OWN_LOCAL = ("size", "crop_min", "crop_max")  # not shared by global and local views


def fields(recipe: str) -> tuple[str, ...]:
  """The names that a config may override in this recipe."""
  if recipe not in RECIPES:
    raise ValueError(
      f"augment.recipe={recipe!r} is not known; choose from {', '.join(RECIPES)}"
    )
  names = [f.name for f in dataclasses.fields(RECIPES[recipe].views[0])]
  local = ["local_views", *(f"local_{name}" for name in _OWN_LOCAL)]
  return (*names, *(local if RECIPES[recipe].local else ()), "mean", "std")


def configure(config: Mapping) -> Recipe:
  """The recipe named `config["recipe"]` with the other entries in place of its own.

  A name of a view's number sets it in all views; size and crops of local views are
  `local_size`, `local_crop_min`, `local_crop_max`. Raises ValueError on other names.
  """
  overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
  name = overrides.pop("recipe", None)
  allowed = fields(name)
  for unknown in overrides.keys() - set(allowed):
    raise ValueError(
      f"augment.{unknown}={overrides[unknown]!r} is not a number of the recipe "
      f"{name!r}; choose from {', '.join(allowed)}"
    )
  recipe = RECIPES[name]
  whole = {
    k: overrides.pop(k) for k in ("local_views", "mean", "std") if k in overrides
  }
  local = {f"local_{k}": k for k in _OWN_LOCAL}
  local = {local[k]: overrides.pop(k) for k in tuple(overrides) if k in local}
  views = tuple(dataclasses.replace(v, **overrides) for v in recipe.views)
  if recipe.local:
    shared = {k: v for k, v in overrides.items() if k not in _OWN_LOCAL}
    whole["local"] = dataclasses.replace(recipe.local, **shared, **local)
  return dataclasses.replace(recipe, views=views, **whole)


def build(config: Mapping, normalise: bool = True) -> Callable:
  """-> views(rng, batch) -> batch, pure; `normalise=False` leaves pictures in [0,1].

  In: "image" uint8 [B,H,W,3], "index" i32 [B], and where pictures were squeezed
  onto the canvas "aspect" f32 [B], their true width / height. Out: "image" f32
  [B,V,size,size,3] normalised, with local views "local" f32 [B,L,size,size,3],
  the other keys as they came. Each view depends on `rng`, its example's index and its
  number alone: not on the batch around it, nor on the devices.
  """
  recipe = configure(config)
  mean = jnp.array(recipe.mean if normalise else (0, 0, 0), jnp.float32)
  std = jnp.array(recipe.std if normalise else (1, 1, 1), jnp.float32)

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
    return (x - jnp.expand_dims(mean, (0, 1, 2, 3))) / jnp.expand_dims(
      std, (0, 1, 2, 3)
    )

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
