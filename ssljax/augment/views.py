"""One view of one example: of a picture, a recording or a text. `vmap` does the rest.

A view's `read` takes from a batch what its `draw` needs besides a key: two arrays. What
it gives is a dict: its `input`, of a picture in 0 to 1, and its "place" f32 [5]: top,
left, height and width in shares of the picture, and 1 where it is mirrored, else 0.
"""

import dataclasses
import functools
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from ssljax import fields
from ssljax.augment import image as ops
from ssljax.fields import ConfigError
from ssljax.fields.ranges import Count, NotNegative, Number, OneOf, Range, Share

LIBRARIES = {  # whose operations
  "torchvision": ops.TORCHVISION,
  "simclr": ops.TENSORFLOW,  # the default of its code, "simclrv2"
  "byol": ops.TENSORFLOW._replace(adds=True),  # and SimCLR's first, "simclrv1"
}
SIGMA = (0.1, 2.0)  # of every paper's blur, in pixels
Part = Annotated[float, Range(above=0, high=1)]  # of a picture
Turn = Annotated[float, Range(0, 0.5)]  # of the circle of hues
Filter = Annotated[str, OneOf(ops.FILTERS)]
NO_BLUR = 0.01  # a Gaussian so narrow that it is the identity


def _pictures(batch):
  """Reads pictures uint8 [B,H,W,C], and f32 [B,3]: rows, columns in use, true ratio.

  The ratio is the width / height that the picture had before it was squeezed into them.
  """
  image = batch["image"]
  extent = jnp.asarray(batch.get("extent", image.shape[1:3]), jnp.float32)
  extent = jnp.broadcast_to(extent, (len(image), 2))
  aspect = batch.get("aspect", extent[:, 1] / extent[:, 0])
  return image, jnp.concatenate([extent, aspect[:, None]], 1)


def whole(batch: dict, size: int) -> dict:
  """Fits pictures, each of them whole, on size x size pixels, uint8.

  For what looks at pictures, or changes them, and does not crop.
  """
  image, extent = _pictures(batch)
  fit = jax.vmap(functools.partial(ops.fit, size=size))
  other_entries = {name: x for name, x in batch.items() if name != "extent"}
  return other_entries | {"image": fit(image, extent[:, :2]), "aspect": extent[:, 2]}


@dataclasses.dataclass(frozen=True)
class View:
  """One random view: crop, flip, jitter, gray, blur, solarize, erase, in this order.

  `flip` and names in `_p` are probabilities; `jitter` holds the strengths of
  brightness, contrast, saturation (factors in 1 ± s) and hue (turns in ± s). `ops` says
  whose code the operations are of, in LIBRARIES.
  """

  size: Count = 224
  crop_min: Part = 0.08  # fraction of the picture's area
  crop_max: Part = 1.0
  interpolation: Filter = "bilinear"
  flip: Share = 0.5
  jitter: tuple[NotNegative, NotNegative, NotNegative, Turn] = (0.4, 0.4, 0.4, 0.4)
  jitter_p: Share = 1.0
  gray_p: Share = 0.2
  gray_first: bool = False  # before the jitter, as InstDisc's and MoCo v1's code has it
  blur_p: Share = 0.0
  blur_reach: Number = 0  # pixels a side that it sees, if more than size // 20
  solarize_p: Share = 0.0
  erase_p: Share = 0.0
  ops: Annotated[str, OneOf(LIBRARIES)] = "torchvision"

  def __post_init__(self):
    fields.check_instance("augment", self)
    if self.crop_min > self.crop_max:
      raise ConfigError(
        f"augment.crop_min={self.crop_min} must be at most crop_max={self.crop_max}; "
        "try 0.2 and 1.0"
      )

  input: ClassVar[str] = "image"
  read: ClassVar = staticmethod(_pictures)

  def draw(
    self, key: jax.Array, image: jax.Array, extent: jax.Array
  ) -> dict[str, jax.Array]:
    """Draws a view of uint8 [H,W,C], f32 [3] by `_pictures` -> "image", "place".

    "image" is [C,size,size].
    """
    u = jax.random.uniform(key, (ops.BOX_DRAWS + 11,))  # one draw is the fast way
    u_box, u = u[: ops.BOX_DRAWS], u[ops.BOX_DRAWS :]
    u_flip, u_jitter, u_order, u_gray, u_blur, u_sigma, u_solarize = u[:7]

    def grayed(x):
      return jnp.where(u_gray < self.gray_p, ops.luma(x)[None], x)

    library = LIBRARIES[self.ops]
    scale = (self.crop_min, self.crop_max)
    box = ops.crop_box(u_box, scale, *extent)
    mirrored = u_flip < self.flip
    x = ops.crop_resize(image, box, mirrored, self.size, self.interpolation, library)
    if self.gray_p and self.gray_first:
      x = grayed(x)
    if self.jitter_p:
      order = jnp.asarray(ops.ORDERS)[(u_order * len(ops.ORDERS)).astype(jnp.int32)]
      amounts = self.jitter_amounts(u[7:], u_jitter < self.jitter_p)
      x = ops.jitter(x, order, amounts, library)
    if self.gray_p and not self.gray_first:
      x = grayed(x)
    if self.blur_p:
      sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * u_sigma
      x = ops.blur(
        x, jnp.where(u_blur < self.blur_p, sigma, NO_BLUR), library, self.blur_reach
      )
    if self.solarize_p:
      x = jnp.where(u_solarize < self.solarize_p, ops.solarize(x), x)
    if self.erase_p:
      key_noise, key_box = jax.random.split(jax.random.fold_in(key, 1))
      u_erase, *u_box = jax.random.uniform(key_box, (ops.BOX_DRAWS + 1,))
      noise = jax.random.normal(key_noise, x.shape)
      erased = ops.erase(x, jnp.stack(u_box), noise)
      x = jnp.where(u_erase < self.erase_p, erased, x)
    return {"image": x, "place": _place(box, extent, mirrored)}

  def plain(self, size: int) -> "View":
    """Returns a view whose boxes and flips are these, and that changes no colour."""
    chances = "jitter_p", "gray_p", "blur_p", "solarize_p", "erase_p"
    return dataclasses.replace(self, size=size, **dict.fromkeys(chances, 0.0))

  def jitter_amounts(self, u: jax.Array, apply: jax.Array | bool) -> jax.Array:
    """Maps uniform [4] to the amounts [4] of `image.jitter`, neutral unless `apply`."""
    neutral = jnp.array([1.0, 1.0, 1.0, 0.0])
    strength = jnp.array(self.jitter, jnp.float32)
    low = jnp.maximum(neutral - strength, jnp.array([0.0, 0.0, 0.0, -0.5]))
    amounts = low + (neutral + strength - low) * u
    return jnp.where(apply, amounts, neutral)


@dataclasses.dataclass(frozen=True)
class CentreView:
  """The view of evaluation: a central square, resized. Nothing is random.

  `crop` is the square's side as a fraction of the picture's shorter side; ImageNet
  papers take 0.875, which is 224 of 256 pixels.
  """

  size: Count = 224
  crop: Part = 1.0
  interpolation: Filter = "bilinear"
  ops: Annotated[str, OneOf(LIBRARIES)] = "torchvision"

  def __post_init__(self):
    fields.check_instance("augment", self)

  input: ClassVar[str] = "image"
  read: ClassVar = staticmethod(_pictures)

  def draw(
    self, key: jax.Array, image: jax.Array, extent: jax.Array
  ) -> dict[str, jax.Array]:
    """Cuts the centre of uint8 [H,W,C], f32 [3] by `_pictures` -> "image", "place".

    "image" is [C,size,size].
    """
    height, width, aspect = extent
    h = jnp.maximum(1.0, height * self.crop * jnp.minimum(1.0, aspect))
    w = jnp.maximum(1.0, width * self.crop * jnp.minimum(1.0, 1 / aspect))
    box = (height - h) / 2, (width - w) / 2, h, w
    library = LIBRARIES[self.ops]
    x = ops.crop_resize(image, box, False, self.size, self.interpolation, library)
    return {"image": x, "place": _place(box, extent, False)}


def _place(box: tuple, extent: jax.Array, mirrored: jax.Array | bool) -> jax.Array:
  """Writes a box on the canvas as f32 [5], in shares of the unsqueezed picture."""
  size = jnp.stack([extent[0], extent[1], extent[0], extent[1]])
  mirrored = jnp.asarray(mirrored, jnp.float32)
  return jnp.append(jnp.stack([*map(jnp.float32, box)]) / size, mirrored)


@dataclasses.dataclass(frozen=True)
class Window:
  """A stretch of `size` samples out of a recording: anywhere, or its middle.

  A shorter recording is followed by silence.
  """

  size: Count = 20480  # samples
  random: bool = True

  input: ClassVar[str] = "audio"

  def __post_init__(self):
    fields.check_instance("augment", self)

  @staticmethod
  def read(batch):
    """Reads recordings int16 [B,L], i32 [B]: how many of the L samples they have."""
    audio = batch["audio"]
    return audio, batch.get("length", jnp.full(audio.shape[:1], audio.shape[1]))

  def draw(
    self, key: jax.Array, audio: jax.Array, length: jax.Array
  ) -> dict[str, jax.Array]:
    """Cuts samples int16 [L], `length` in use, to "audio" f32 [size] in [-1,1)."""
    if audio.shape[0] < self.size:
      audio = jnp.pad(audio, (0, self.size - audio.shape[0]))
    spare = jnp.maximum(length - self.size, 0)
    start = jax.random.randint(key, (), 0, spare + 1) if self.random else spare // 2
    window = jax.lax.dynamic_slice(audio, (start,), (self.size,))
    return {"audio": window.astype(jnp.float32) / 32768}


@dataclasses.dataclass(frozen=True)
class Text:
  """Passes token ids on as they are."""

  input: ClassVar[str] = "text"

  @staticmethod
  def read(batch):
    """Reads texts i32 [B,...], and nothing more to know."""
    return batch["text"], batch["index"]

  def draw(
    self, key: jax.Array, text: jax.Array, index: jax.Array
  ) -> dict[str, jax.Array]:
    """Passes on ids i32 [...] as "text", the same."""
    return {"text": text}
