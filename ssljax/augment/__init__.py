"""Views: what a paper does to a picture (`recipes.py`), and the code that does it.

The operations (`image.py`) are torchvision's, as in most official code, or with `ops`
those of SimCLR's or BYOL's own: there resizing does not antialias, a blur sees black
beyond the edge, contrast is about each channel's mean, saturation is HSV's, and BYOL's
brightness is added. SimCLR's does not normalise either: mean 0, std 1. Boxes are
torchvision's for all: SimCLR's code tries a hundred, of uniform ratio and height, and
takes the whole picture after; BYOL's tries one and clips its sides to the picture.
Runs on the device, inside the train step.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from ssljax import core, fields
from ssljax.augment.recipes import EVAL, RECIPES, Augmentation
from ssljax.augment.views import View
from ssljax.fields.ranges import OneOf

SOURCE = "ssljax/augment/__init__.py"


_OWN = ("size", "crop_min", "crop_max")  # what local views do not share
_RESIZED = ("interpolation", "ops")  # what evaluation shares with the first view
_WHOLE = ("local_views", "larger", "colour", "mean", "std")  # not of a View


def declare(config: Mapping) -> fields.Group:
  """Lists the fields of the group `augment` of a config: those of its recipe's views.

  Defaults are the recipe's own numbers, of its first view.
  """
  name = config.get("recipe")
  fields.check_choice("augment.recipe", name, RECIPES)
  recipe = RECIPES[name]
  names = ["colour", "mean", "std"] if recipe.input == "image" else []
  numbers = fields.defaults_of(recipe.views[0])
  if recipe.local:
    local = fields.defaults_of(recipe.local)
    numbers |= {f"local_{name}": local[name] for name in _OWN}
    names.append("local_views")
  if isinstance(recipe.views[0], View):
    numbers |= fields.defaults_of(recipe.mask)
    names.append("larger")
  shared = fields.defaults_of(recipe)
  recipe_field = fields.Field(Annotated[str, OneOf(RECIPES)], fields.MISSING, SOURCE)
  every = {"recipe": recipe_field, **numbers, **{name: shared[name] for name in names}}
  return fields.Group("augment", f"augment.recipe={name!r}", every)


def evaluation(config: Mapping, crop: float, interpolation: str = "") -> dict:
  """Makes a config of the same recipe's pictures (recordings, texts), nothing random.

  `crop` is CentreView's, and so is `interpolation`; "" is the filter of the views.
  """
  recipe = configure(config)
  colours = {name: getattr(recipe, name) for name in ("colour", "mean", "std")}
  resized = {k: v for k, v in vars(recipe.views[0]).items() if k in _RESIZED}
  values = {**colours, **resized, **config, "crop": crop, "recipe": EVAL[recipe.input]}
  if interpolation:
    values["interpolation"] = interpolation
  allowed = declare({"recipe": EVAL[recipe.input]}).fields
  return {k: values[k] for k in allowed if k in values}


def seen_size(config: Mapping, crop: float) -> int:
  """Computes the shorter side of a picture before its crop, in pixels: 256 for 224."""
  (view,) = configure(evaluation(config, crop)).views
  return round(view.size / view.crop)


def configure(config: Mapping) -> Augmentation:
  """Builds the augmentation named `config["recipe"]`, the other entries replaced.

  A name of a view's number sets it in all views; local views have their own
  `local_size`, `local_crop_min`, `local_crop_max`. Raises ConfigError.
  """
  fields.check(declare(config), config)
  recipe = RECIPES[config["recipe"]]
  overrides = {k: v for k, v in config.items() if k != "recipe"}
  changes = {k: overrides.pop(k) for k in _WHOLE if k in overrides}
  numbers = {k: overrides.pop(k) for k in vars(recipe.mask) if k in overrides}
  changes["mask"] = dataclasses.replace(recipe.mask, **numbers)
  local_changes = {
    k: overrides.pop(f"local_{k}") for k in _OWN if f"local_{k}" in overrides
  }
  views = tuple(dataclasses.replace(view, **overrides) for view in recipe.views)
  if recipe.local:
    shared = {k: v for k, v in overrides.items() if k not in _OWN}
    changes["local"] = dataclasses.replace(recipe.local, **shared, **local_changes)
  return dataclasses.replace(recipe, views=views, **changes)


def build(config: Mapping, normalise: bool = True) -> Callable:
  """Builds views(rng, batch) -> batch, pure; `normalise=False` leaves RGB in [0,1].

  In: "image" uint8 [B,H,W,C], "index" i32 [B]; where pictures do not fill that canvas
  "extent" i32 [B,2], its rows and columns in use; where they were squeezed onto it
  "aspect" f32 [B], their true width / height. Out: "image" f32 [B,V,size,size,C]
  normalised and "place" f32 [B,V,5], of the picture (see `View`); with local views
  "local" f32 [B,L,size,size,C] and "local_place"; with `larger` the same crops of so
  many pixels, "larger" f32 [B,V,larger,larger,C], as the picture's colours are; with a
  mask what its class in `masks` draws; other keys as they came. Each view depends on
  `rng`, its example's index and its number alone: not on the batch around it, nor on
  the devices (save for the last bit, which XLA rounds by the shape of the batch).

  Recordings are "audio" int16 [B,L] with "length" i32 [B] -> f32 [B,V,size]; texts
  "text" i32 [B,...] -> [B,1,...].
  """
  recipe = configure(config)

  def stack(views, first, *examples):
    """Views of all examples, {entry: [B,V,...]}, numbered from `first`."""
    parts = []
    for view, run in itertools.groupby(views):
      count = len(list(run))
      draw = jax.vmap(functools.partial(_draw, view), (0, None, None, None))  # views
      draw = jax.vmap(draw, (None, 0, 0, 0))  # over examples
      parts.append(draw(first + jnp.arange(count), *examples))
      first += count
    stacked = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)
    finished = recipe.finish(stacked[recipe.input], normalise)
    return {**stacked, recipe.input: finished}

  def views(rng, batch):
    if recipe.input == "image":
      recipe.check_channels(batch["image"].shape[-1])
    keys = core.keys(rng, batch["index"])
    example = keys, *recipe.views[0].read(batch)
    out = {**batch, **stack(recipe.views, 0, *example)}
    if recipe.local_views:
      local = stack(recipe.local_views * (recipe.local,), len(recipe.views), *example)
      out |= {"local": local["image"], "local_place": local["place"]}
    if recipe.larger:
      plain = tuple(view.plain(recipe.larger) for view in recipe.views)
      out["larger"] = stack(plain, 0, *example)["image"]
    if recipe.hides:
      side = recipe.views[0].size // recipe.mask.patch_size
      out |= recipe.mask.draw(keys, len(recipe.views), side, side)
    return out

  return views


def _draw(view, number, key, x, facts):
  return view.draw(jax.random.fold_in(key, number), x, facts)
