"""Any picture -> a square uint8 canvas, what of it is in use, the aspect ratio it had.

A picture that fits lies in the canvas's corner as it is; a side that is longer is
squeezed to the canvas's. Its true width / height travels along, so that the device can
sample crops in the original geometry.
"""

import functools
import pathlib

import numpy as np
from PIL import Image

from ssljax.data import deep, jpeg
from ssljax.data.codec import Codec, UnreadableError
from ssljax.data.places import printable

CANVAS = 1  # what is on a canvas: raise it where `decode` gives other numbers
Picture = bytes | pathlib.Path | np.ndarray  # encoded, a file, or uint8 [H,W,3]
ORIENTATION_TAG = 0x0112
HELD = ("exif", "xmp", "XML:com.adobe.xmp")  # of Pillow's info, where it may stand
UPRIGHT = {  # EXIF orientation -> how the stored rows and columns become upright
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


class Pictures(Codec):
  """Decodes an example's "image", a `Picture`, on a canvas of size x size."""

  def __init__(self, size: int, ranges: deep.Ranges = deep.UNKNOWN):
    """`ranges` are of pictures of more than 8 bits, the same for a whole data set."""
    self.size, self.ranges = size, ranges

  @property
  def spec(self):
    """Describes the canvas, its rows and columns in use, their true width / height."""
    shape = (self.size, self.size, 3)
    return {
      "image": (shape, "uint8"),
      "extent": ((2,), "int32"),
      "aspect": ((), "float32"),
    }

  def decode(self, example):
    """Decodes to "image" uint8 [size,size,3], "extent" (rows, columns), "aspect"."""
    spec = self.spec.items()
    batch = {name: np.empty((1, *shape), dtype) for name, (shape, dtype) in spec}
    self.fill(example, batch, 0)
    return {name: x[0] for name, x in batch.items()}

  def fill(self, example, batch, row):
    """Decodes an example into a row of a batch's arrays."""
    picture, aspect = decode(example["image"], self.size, self.ranges)
    height, width = picture.shape[:2]
    lay(picture, batch["image"][row])
    batch["extent"][row], batch["aspect"][row] = (height, width), aspect


def lay(picture: np.ndarray, canvas: np.ndarray) -> None:
  """Lays a picture [H,W,3] in the corner of a canvas [S,S,3], the rest of it 0."""
  height, width = picture.shape[:2]
  canvas[:height, :width] = picture
  canvas[:height, width:] = 0
  canvas[height:] = 0


def decode(
  picture: Picture, size: int, ranges: deep.Ranges = deep.UNKNOWN
) -> tuple[np.ndarray, float]:
  """Decodes a picture -> uint8 [H,W,3], upright, no side above `size`; width / height.

  A side that is longer becomes `size`, the other stays: bicubic with antialias. JPEGs
  much larger are scaled by the decoder (DCT), down to twice `size`. Transparency is
  laid on white, more than 8 bits are scaled by `ranges`, animations give their first
  frame. Raises UnreadableError.
  """
  if isinstance(picture, np.ndarray):
    image = Image.fromarray(
      picture.squeeze(-1) if picture.shape[2:] == (1,) else picture
    )
    return _fit(to_rgb(image, lambda: image), size), image.width / image.height
  try:
    fitted, width, height, orientation = _stored(picture, size, ranges)
  except Exception as error:  # Pillow's plugins raise whatever broken bytes lead to
    where = "" if isinstance(picture, bytes) else f"{printable(str(picture))}: "
    raise UnreadableError(f"{where}{type(error).__name__}: {error}") from error
  if orientation in UPRIGHT:  # turning what was fitted is cheaper than the picture
    fitted = np.asarray(Image.fromarray(fitted).transpose(UPRIGHT[orientation]))
  turned = orientation in (5, 6, 7, 8)
  return fitted, height / width if turned else width / height


def _stored(
  picture: bytes | pathlib.Path, size: int, ranges: deep.Ranges
) -> tuple[np.ndarray, int, int, int]:
  """Decodes what is fitted as it is stored, its width and height, its orientation."""
  if not isinstance(picture, bytes) and picture.suffix.lower() in jpeg.ENDINGS:
    picture = picture.read_bytes()
  open_it = functools.partial(deep.open_picture, picture)
  if isinstance(picture, bytes) and (decoded := jpeg.decode(picture, 2 * size)):
    pixels, width, height = decoded
    orientation = 1
    if jpeg.may_be_turned(picture):
      with open_it() as f:
        orientation = _orientation(f)
    if max(pixels.shape[:2]) > size:
      pixels = _fit(Image.fromarray(pixels), size)
    return pixels, width, height, orientation
  with open_it() as f:
    width, height = f.size
    orientation = _orientation(f)
    f.draft("RGB", (2 * size, 2 * size))
    return _fit(to_rgb(f, open_it, ranges), size), width, height, orientation


def size_of(picture: Picture) -> tuple[int, int]:
  """Reads the width and height of a picture, upright. Raises UnreadableError."""
  if isinstance(picture, np.ndarray):
    return picture.shape[1], picture.shape[0]
  try:
    with deep.open_picture(picture) as f:
      (width, height), turned = f.size, _orientation(f) in (5, 6, 7, 8)
  except Exception as error:  # Pillow's plugins raise whatever broken bytes lead to
    raise UnreadableError(f"{type(error).__name__}: {error}") from error
  return (height, width) if turned else (width, height)


def as_stored(picture: Picture, size: int) -> bytes | None:
  """Returns a JPEG's bytes where `decode` gives its pixels, not scaled, not turned."""
  if isinstance(picture, np.ndarray):
    return None
  stored = picture if isinstance(picture, bytes) else picture.read_bytes()
  if not stored.startswith(jpeg.START):
    return None
  with deep.open_picture(stored) as f:
    turned = _orientation(f) in UPRIGHT
    return stored if f.format == "JPEG" and max(f.size) <= size and not turned else None


def _orientation(image: Image.Image) -> int:
  """Reads how the camera was held: EXIF's number, which XMP may hold instead."""
  if image.format == "TIFF" or not any(key in image.info for key in HELD):
    return 1  # of a TIFF Pillow turns the picture itself
  return image.getexif().get(ORIENTATION_TAG, 1)


def to_rgb(
  image: Image.Image, open_it: deep.Open, ranges: deep.Ranges = deep.UNKNOWN
) -> Image.Image:
  """Converts a picture of any mode, just opened by `open_it`, to "RGB".

  Transparency is laid on white; more than 8 bits are scaled by `ranges`.
  """
  if deep.is_deep(image, ranges):
    image = Image.fromarray(deep.to_bytes(deep.values(open_it), ranges))
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
  return image if image.mode == "RGB" else image.convert("RGB")  # else a copy


def _fit(image: Image.Image, size: int) -> np.ndarray:
  fitted = min(image.width, size), min(image.height, size)
  if image.size != fitted:
    image = image.resize(fitted, Image.Resampling.BICUBIC)
  return np.asarray(image)
