"""The views of each paper, as numbers."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from ssljax import fields
from ssljax.augment import image as ops
from ssljax.augment import masks
from ssljax.augment.views import CentreView, Text, View, Window
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Number, OneOf, Positive

NO_MASK = masks.Blocks()
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """The views of one paper; `local` is drawn `local_views` times, at its own size.

  `mean` and `std` are in the units of `colour`, one number a channel or one for all.
  """

  views: tuple[View | CentreView | Window | Text, ...]
  local: View | None = None
  local_views: Number = 0
  mask: masks.Blocks | masks.Multiblock = NO_MASK  # of each view, not the local ones
  larger: Number = 0  # pixels a side of each view once more, undistorted; 0: not
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
    larger = "larger", self.larger
    return {"local": ("local_views", self.local_views), "larger": larger, **given}

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
_SIMCLR_HALF = dataclasses.replace(
  _SIMCLR, interpolation="bilinear", crop_min=0.3, jitter=(0.4, 0.4, 0.4, 0.1)
)
_SWAV = dataclasses.replace(_SIMCLR, interpolation="bilinear", crop_min=0.14)
_SMALL = {"size": 96, "blur_reach": 6}  # three deviations: Pillow does not cut its blur
_SWAV_LOCAL = dataclasses.replace(_SWAV, **_SMALL, crop_min=0.05, crop_max=0.14)
_MSN_FOCAL = dataclasses.replace(_SIMCLR_HALF, **_SMALL, crop_min=0.05, crop_max=0.3)
_DINO = dataclasses.replace(_BYOL, crop_min=0.4)
_DINO_2 = dataclasses.replace(_BYOL_2, crop_min=0.4)
_DINO_LOCAL = dataclasses.replace(
  _BYOL, **_SMALL, crop_min=0.05, crop_max=0.4, blur_p=0.5
)

_IBOT = dataclasses.replace(_DINO, crop_min=0.25)
_IBOT_2 = dataclasses.replace(_DINO_2, crop_min=0.25)
_IBOT_LOCAL = dataclasses.replace(_DINO_LOCAL, crop_max=0.25)
_DINOV2, _DINOV2_2 = (
  dataclasses.replace(view, crop_min=0.32) for view in (_DINO, _DINO_2)
)
_DINOV2_LOCAL = dataclasses.replace(_DINO_LOCAL, crop_max=0.32)

_SUPERVISED = View(jitter_p=0.0, gray_p=0.0)
_CMC = dataclasses.replace(_SUPERVISED, crop_min=0.2)
_MAE = dataclasses.replace(_CMC, interpolation="bicubic")
_IJEPA = View(crop_min=0.3, flip=0.0, jitter_p=0.0, gray_p=0.0)
_SIMMIM = dataclasses.replace(_SUPERVISED, crop_min=0.67)
_LEJEPA = dataclasses.replace(_SIMCLR, interpolation="bilinear", solarize_p=0.2)
_BEIT = View(interpolation="bicubic", jitter=(0.4, 0.4, 0.4, 0.0), gray_p=0.0)
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
  "dinov2": Augmentation(  # Oquab et al. 2023
    (_DINOV2, _DINOV2_2), _DINOV2_LOCAL, 8, mask=masks.Blocks(mask_p=0.5)
  ),
  "mae": Augmentation((_MAE,)),  # He et al. 2021
  "clip": Augmentation(  # Radford et al. 2021, with open_clip's crop
    (_CLIP,), mean=(0.48145, 0.45783, 0.40821), std=(0.26863, 0.26130, 0.27578)
  ),
  "simmim": Augmentation(  # Xie et al. 2022
    (_SIMMIM,), mask=masks.Blocks(mask_p=1.0, mask_min=0.6, mask_max=0.6, mask_unit=32)
  ),
  "msn": Augmentation(
    (_SIMCLR_HALF, _SIMCLR_HALF), _MSN_FOCAL, 10
  ),  # Assran et al. 2022
  "data2vec": Augmentation(  # Baevski et al. 2022, with BEiT's views
    (_BEIT,), mask=masks.Blocks(mask_p=1.0, mask_min=0.613, mask_max=0.613)
  ),
  "ressl": Augmentation((_MOCO_V2, _CMC)),  # Zheng et al. 2021; the second is weak
  "ijepa": Augmentation((_IJEPA,), mask=masks.Multiblock()),  # Assran et al. 2023
  "lejepa": Augmentation(4 * (_LEJEPA,)),  # Balestriero & LeCun 2025, its example
  "eval": Augmentation((CentreView(),)),
  "audio": Augmentation((Window(),)),
  "audio_eval": Augmentation((Window(random=False),)),
  "text": Augmentation((Text(),)),
}
EVAL = {"image": "eval", "audio": "audio_eval", "text": "text"}  # where nothing varies
