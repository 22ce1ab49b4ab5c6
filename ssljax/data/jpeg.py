"""JPEGs by simplejpeg where it is installed: Pillow's numbers, bit for bit, sooner.

Both wrap libjpeg-turbo; Pillow parses the header in Python, copies rows by pieces and
keeps a fourth byte a pixel. What simplejpeg complains of, Pillow has the last word on.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

try:
  import simplejpeg
except ImportError:  # the extra `jpeg`
  simplejpeg = None

START = b"\xff\xd8\xff"
ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")
COLOURS = ("YCbCr", "RGB", "Gray")  # whose way to RGB is libjpeg's alone
APP1, SCAN = 0xE1, 0xDA  # of markers, which begin with 0xFF
SCALES = (8, 4, 2)


class Decoded(NamedTuple):
  """A JPEG's pixels u8 [H,W,3] as they are stored, and its size unscaled."""

  pixels: np.ndarray
  width: int
  height: int


def decode(stored: bytes, least: int) -> Decoded | None:
  """Decodes a JPEG, scaled by 2, 4 or 8 while no side falls below `least` pixels.

  That is what Pillow's `draft` does. None where Pillow is to decode it.
  """
  if simplejpeg is None or not stored.startswith(START):
    return None
  try:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(stored)
    limit = Image.MAX_IMAGE_PIXELS
    if colours not in COLOURS or (limit and height * width > limit):
      return None
    most = min(width, height) // least
    scale = next((s for s in SCALES if most >= s), 1)
    shape = -(-height // scale), -(-width // scale)
    pixels = simplejpeg.decode_jpeg(
      stored, min_height=shape[0], min_width=shape[1], min_factor=scale
    )
  except ValueError:  # damaged, or of a kind that it does not know
    return None
  return Decoded(pixels, width, height) if pixels.shape[:2] == shape else None


def decode_into(stored: bytes, canvas: np.ndarray) -> bool:
  """Decodes a JPEG of just the size of u8 [H,W,3] there, if it can; whether it did."""
  if simplejpeg is None or not stored.startswith(START):
    return False
  try:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(stored)
    if colours not in COLOURS or (height, width) != canvas.shape[:2]:
      return False
    simplejpeg.decode_jpeg(stored, buffer=canvas)
  except ValueError:
    return False
  return True


def may_be_turned(stored: bytes) -> bool:
  """Whether a JPEG may hold how the camera was held: EXIF or XMP, which are APP1."""
  at = len(START) - 1
  while stored[at : at + 1] == b"\xff" and stored[at + 1] != APP1:
    if stored[at + 1] == SCAN:
      return False
    at += 2 + int.from_bytes(stored[at + 2 : at + 4], "big")
  return True  # or the header is not plain
