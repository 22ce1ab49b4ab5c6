"""Pictures of more than 8 bits, and which of their values are black and white.

Cameras and scanners write 10, 12 or 14 bits into 16: taken for 16 they are black. A
picture does not tell; many of a data set do, so that all have one range.
"""

import concurrent.futures
import contextlib
import functools
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image
from tqdm import tqdm

from ssljax.data.codec import Example, UnreadableError

SAMPLED = 256  # pictures, spread over the training split, that tell the range
THREADS = 16  # of far disks
KINDS = ("whole", "float")  # of numbers
BITS_PER_SAMPLE = 258  # a TIFF tag
OTHER_BYTE = {  # how Pillow takes the high byte of 16 bits -> how it takes the low one
  ";16B": ";16L",
  ";16L": ";16B",
  ";16N": ";16B" if sys.byteorder == "little" else ";16L",
}
STARTS = {  # of the usual files: to try every format in turn takes twice as long
  b"\xff\xd8\xff": ("JPEG",),
  b"\x89PNG\r\n\x1a\n": ("PNG",),
}
GREY_ALPHA = "LA;16B"


class Range(NamedTuple):
  """The values of a picture that are black and white."""

  low: float
  high: float


class Ends(NamedTuple):
  """A picture's least and greatest number, and the bits that it claims."""

  kind: str  # of KINDS
  low: float
  high: float
  claimed: int  # 0: none below 16


Ranges = Mapping[str, Range]  # by kind, as far as known
Open = Callable[[], Image.Image]

FULL = Range(0, 65535)
UNKNOWN: Ranges = MappingProxyType({})


def measure(name: str, examples: Sequence[Callable[[], Example]]) -> Ranges:
  """Measures the ranges of a data set by some of its examples' "image", and says them.

  Whole numbers go from 0 to the power of two above the greatest, or to the bits that a
  file claims where none goes beyond them; where some are negative, as floats do, from
  the least to the greatest.
  """
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
    looks = pool.map(_look, examples)
    looks = list(tqdm(looks, f"range of {name}", len(examples), delay=2))
  ends = {kind: [x for x in looks if x and x.kind == kind] for kind in KINDS}
  ranges = {kind: _range(kind, group) for kind, group in ends.items() if group}
  for kind, (low, high) in ranges.items():
    if (low, high) != FULL:
      logging.warning(
        "Pictures of %s hold %s numbers of more than 8 bits: %g is black and %g white, "
        "by %d of them",
        *(name, kind, low, high, len(ends[kind])),
      )
  return ranges


def _range(kind: str, ends: Sequence[Ends]) -> Range:
  low, high = min(x.low for x in ends), max(x.high for x in ends)
  if kind == "float" or low < 0:
    return Range(low, high)
  claimed = max(x.claimed for x in ends)
  return Range(0, 2 ** max(8, int(high).bit_length(), claimed) - 1)


def open_picture(picture) -> Image.Image:
  """Opens a path or the bytes of a file as an image of Pillow's, not yet loaded."""
  if not isinstance(picture, bytes):
    return Image.open(picture)
  formats = next((f for start, f in STARTS.items() if picture.startswith(start)), None)
  return Image.open(io.BytesIO(picture), formats=formats)


def _look(read: Callable[[], Example]) -> Ends | None:
  """Reads a picture's `Ends`; None where 8 bits hold it, or nothing is a number."""
  with contextlib.suppress(Exception):  # met again, and said, when it is decoded
    picture = read().get("image")
    if picture is None or isinstance(picture, np.ndarray):
      return None
    open_it = functools.partial(open_picture, picture)
    with open_it() as f:
      if not is_deep(f):
        return None
      bits = f.tag_v2.get(BITS_PER_SAMPLE, (0,)) if f.format == "TIFF" else _bits(f)
    x = values(open_it)
    x = x[..., :3] if x.ndim == 3 else x  # what is transparent has a range of its own
    kind, x = "float" if x.dtype.kind == "f" else "whole", x[np.isfinite(x)]
    if x.size:
      claimed = max(bits) if max(bits) < 16 else 0
      return Ends(kind, float(x.min()), float(x.max()), claimed)
  return None


def _bits(image: Image.Image) -> Sequence[int]:
  """Reads PNG's sBIT, which Pillow passes over."""
  if image.format != "PNG":
    return (0,)
  image.fp.seek(0)
  head, _, _ = image.fp.read(4096).partition(b"IDAT")
  length, mark, after = head.partition(b"sBIT")
  return tuple(after[: length[-1]]) if mark and length else (0,)


def is_deep(image: Image.Image, ranges: Ranges | None = None) -> bool:
  """Whether a picture that is not yet loaded has more than 8 bits a value.

  Of colours whose range is known to be full, their high byte is as good.
  """
  full = ranges is not None and ranges.get("whole", FULL) == FULL
  return image.mode.startswith(("I", "F")) or (not full and _halved(image))


def _halved(image: Image.Image) -> bool:
  """Whether Pillow will take the high bytes alone, as it does of 16-bit colours."""
  tiles = getattr(image, "tile", None) or ()
  return image.mode in ("RGB", "RGBA") and any(
    _raw_mode(tile)[:-4] in (image.mode, "LA") and _raw_mode(tile)[-4:] in OTHER_BYTE
    for tile in tiles
  )


def _raw_mode(tile) -> str:
  args = tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0]
  return args if isinstance(args, str) else ""


def values(open_it: Open) -> np.ndarray:
  """Reads a deep picture's numbers, [H,W], or [H,W,3 or 4] in 16 bits."""
  with open_it() as f:
    halved = _halved(f)
    high = np.asarray(f)
  if not halved:
    return high
  with open_it() as f:
    if _raw_mode(f.tile[0]) == GREY_ALPHA:  # its bytes are as many as of 8-bit RGBA
      f.tile = [tile._replace(args="RGBA") for tile in f.tile]
      high_and_low = np.asarray(f).astype(np.uint16)
      return (high_and_low[..., ::2] << 8 | high_and_low[..., 1::2])[..., [0, 0, 0, 1]]
    f.tile = [_low_bytes(tile) for tile in f.tile]
    return high.astype(np.uint16) << 8 | np.asarray(f)


def _low_bytes(tile):
  mode = _raw_mode(tile)
  mode = mode[:-4] + OTHER_BYTE[mode[-4:]]
  return tile._replace(
    args=mode if isinstance(tile.args, str) else (mode, *tile.args[1:])
  )


def to_bytes(x: np.ndarray, ranges: Ranges) -> np.ndarray:
  """Scales deep values to uint8 by the range of their kind; transparency by 16 bits.

  Raises UnreadableError.
  """
  kind = "float" if x.dtype.kind == "f" else "whole"
  if kind == "float" and kind not in ranges:
    raise UnreadableError("it holds floats, and none of those that tell their range")
  low, high = ranges.get(kind, FULL)
  share = (np.nan_to_num(x.astype(np.float64)) - low) / max(high - low, 1e-12)
  shallow = np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
  if x.shape[2:] == (4,):
    shallow[..., 3] = x[..., 3] >> 8
  return shallow
