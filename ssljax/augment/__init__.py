"""Views: what each paper does to a picture, as numbers, and the code that does it.

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
import numpy as np

from ssljax import core, fields
from ssljax.augment import image as ops
from ssljax.augment import masks
from ssljax.augment.views import CentreView, Text, View, Window
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Number, OneOf, Positive

NO_MASK = masks.Blocks()
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SOURCE = "ssljax/augment/__init__.py"


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """The views of one paper; `local` is drawn `local_views` times, at its own size.

  `mean` and `std` are in the units of `colour`, one number a channel or one for all.
  """

  views: tuple[View | CentreView | Window | Text, ...]
  local: View | None = None
  local_views: Number = 0
  mask: masks.Blocks | masks.Multiblock = NO_MASK  # of each view, not the local ones
  colour: Annotated[str, OneOf(ops.COLOURS)] = "rgb"  # as the network sees the picture
  mean: tuple[float, ...] = IMAGENET_MEAN
  std: tuple[Positive, ...] = IMAGENET_STD

  def __post_init__(self):
    fields.check_instance("augment", self)

  @property
  def hides(self) -> float:
    """The number of the mask that switches it on; 0: none is drawn."""
    return getattr(self.mask, self.mask.switch)

  @property
  def extras(self) -> dict[str, tuple[str, float]]:
    """What may stand beside pictures: entry -> the field that asks for it, its number.

    0: there is none.
    """
    given = {kind.entry: (kind.switch, 0) for kind in masks.KINDS}
    given[self.mask.entry] = self.mask.switch, self.hides
    return {"local": ("local_views", self.local_views), **given}

  @property
  def input(self) -> str:
    """The entry of a batch that the views are of."""
    return self.views[0].input

  def finish(self, x: jax.Array, normalise: bool) -> jax.Array:
    """Turns planes [B,V,C,S,S] in [0,1] into [B,V,S,S,C] as the network sees them."""
    if self.input != "image":
      return x
    self.check_channels(x.shape[2])
    if not normalise:
      return jnp.moveaxis(x, 2, 4)
    convert = jax.vmap(jax.vmap(ops.COLOURS[self.colour]))
    mean, std = (
      np.reshape(np.float32(numbers), (1, 1, 1, 1, -1))
      for numbers in (self.mean, self.std)
    )
    return (jnp.moveaxis(convert(x), 2, 4) - mean) / std

  def check_channels(self, channels: int) -> None:
    """Raises ConfigError where these views cannot be of so many channels."""
    for name, numbers in (("mean", self.mean), ("std", self.std)):
      if len(numbers) not in (1, channels):
        raise ConfigError(
          f"augment.{name}={numbers} must be one number, or one for each of the "
          f"pictures' {channels} channels; try ({numbers[0]},)"
        )
    coloured = self.colour != "rgb" or any(
      isinstance(view, View) and (view.jitter_p or view.gray_p) for view in self.views
    )
    if coloured and channels != 3:
      raise ConfigError(
        f"augment.colour={self.colour!r}, jitter_p and gray_p are about red, green and "
        f"blue, and the pictures have {channels} channels; set them to 'rgb', 0 and 0"
      )


_INSTDISC = View(crop_min=0.2, gray_first=True)
_CPC = View(size=256, crop_min=0.73, crop_max=0.73, jitter_p=0.0, gray_p=0.0)
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
_SMALL = {"size": 96, "blur_reach": 6}  # three deviations: Pillow does not cut its blur
_SWAV_LOCAL = dataclasses.replace(_SWAV, **_SMALL, crop_min=0.05, crop_max=0.14)
_DINO = dataclasses.replace(_BYOL, crop_min=0.4)
_DINO_2 = dataclasses.replace(_BYOL_2, crop_min=0.4)
_DINO_LOCAL = dataclasses.replace(
  _BYOL, **_SMALL, crop_min=0.05, crop_max=0.4, blur_p=0.5
)

_IBOT = dataclasses.replace(_DINO, crop_min=0.25)
_IBOT_2 = dataclasses.replace(_DINO_2, crop_min=0.25)
_IBOT_LOCAL = dataclasses.replace(_DINO_LOCAL, crop_max=0.25)

_SUPERVISED = View(jitter_p=0.0, gray_p=0.0)
_CMC = dataclasses.replace(_SUPERVISED, crop_min=0.2)
_MAE = dataclasses.replace(_CMC, interpolation="bicubic")
_IJEPA = View(crop_min=0.3, flip=0.0, jitter_p=0.0, gray_p=0.0)
_CLIP = View(interpolation="bicubic", crop_min=0.9, flip=0.0, jitter_p=0.0, gray_p=0.0)

RECIPES = {
  "supervised": Augmentation((_SUPERVISED,)),  # PyTorch's ImageNet example
  "instdisc": Augmentation((_INSTDISC,)),  # Wu et al. 2018
  "cpc": Augmentation(  # van den Oord et al. 2018
    (_CPC,), colour="gray", mean=(0.5,), std=(0.5,)
  ),
  "invaspread": Augmentation((_INVASPREAD, _INVASPREAD)),  # Ye et al. 2019
  "cmc": Augmentation(  # Tian et al. 2019, with the ranges of its code
    (_CMC,), colour="lab", mean=(50, 6.025, -6.6895), std=(50, 92.208, 101.1675)
  ),
  "cmc_ycbcr": Augmentation(
    (_CMC,),
    colour="ycbcr",
    mean=(116.151, 121.080, 132.342),
    std=(109.500, 111.855, 111.964),
  ),
  "moco_v1": Augmentation((_INSTDISC, _INSTDISC)),  # He et al. 2020
  "simclr": Augmentation((_SIMCLR, _SIMCLR)),  # Chen et al. 2020
  "moco_v2": Augmentation((_MOCO_V2, _MOCO_V2)),  # Chen et al. 2020; SimSiam too
  "byol": Augmentation((_BYOL, _BYOL_2)),  # Grill et al. 2020; MoCo v3 too
  "swav": Augmentation(  # Caron et al. 2020, with the deviations of its code
    (_SWAV, _SWAV), _SWAV_LOCAL, 6, std=(0.228, 0.224, 0.225)
  ),
  "dino": Augmentation((_DINO, _DINO_2), _DINO_LOCAL, 8),  # Caron et al. 2021
  "ibot": Augmentation(  # Zhou et al. 2022
    (_IBOT, _IBOT_2), _IBOT_LOCAL, 10, mask=masks.Blocks(mask_p=0.5)
  ),
  "mae": Augmentation((_MAE,)),  # He et al. 2021
  "clip": Augmentation(  # Radford et al. 2021, with open_clip's crop
    (_CLIP,), mean=(0.48145, 0.45783, 0.40821), std=(0.26863, 0.26130, 0.27578)
  ),
  "ijepa": Augmentation((_IJEPA,), mask=masks.Multiblock()),  # Assran et al. 2023
  "eval": Augmentation((CentreView(),)),
  "audio": Augmentation((Window(),)),
  "audio_eval": Augmentation((Window(random=False),)),
  "text": Augmentation((Text(),)),
}
EVAL = {"image": "eval", "audio": "audio_eval", "text": "text"}  # where nothing varies

_OWN = ("size", "crop_min", "crop_max")  # what local views do not share
_RESIZED = ("interpolation", "ops")  # what evaluation shares with the first view
_WHOLE = (
  "local_views",
  "colour",
  "mean",
  "std",
)  # not of a View


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
  "aspect" f32 [B], their true width / height. Out: "image" f32
  [B,V,size,size,C] normalised and "place" f32 [B,V,5], of the picture (see `View`);
  with local views "local" f32 [B,L,size,size,C] and "local_place"; with a mask what its
  class in `masks` draws; the other keys as they came. Each view depends on `rng`, its
  example's index and its number alone: not on the batch around it, nor on the devices
  (save for the last bit, which XLA rounds by the shape of the batch).

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
    if recipe.hides:
      side = recipe.views[0].size // recipe.mask.patch_size
      out |= recipe.mask.draw(keys, len(recipe.views), side, side)
    return out

  return views


def _draw(view, number, key, x, facts):
  return view.draw(jax.random.fold_in(key, number), x, facts)
