"""With simplejpeg and without it a JPEG has the same pixels, or the same complaint."""

import itertools

import numpy as np
import pytest
from pictures import encode, smooth
from PIL import Image

from ssljax.data import jpeg
from ssljax.data.decode import UnreadableError, decode

needs_simplejpeg = pytest.mark.skipif(not jpeg.simplejpeg, reason="the extra `jpeg`")
SAMPLINGS = "4:4:4", "4:2:2", "4:2:0"


def picture(width=101, height=75):
  rng = np.random.default_rng(0)
  noisy = smooth(width, height) + rng.normal(0, 20, (height, width, 3))
  return Image.fromarray(np.uint8(np.clip(noisy, 0, 255)))


def by_both(monkeypatch, stored, size):
  """What `decode` gives or raises with simplejpeg, then without."""
  answers = []
  for module in (jpeg.simplejpeg, None):
    monkeypatch.setattr(jpeg, "simplejpeg", module)
    try:
      answers.append(decode(stored, size))
    except UnreadableError as error:
      answers.append(str(error).partition(" at 0x")[0])
    monkeypatch.undo()
  return answers


def assert_alike(monkeypatch, stored, size):
  ours, pillows = by_both(monkeypatch, stored, size)
  assert type(ours) is type(pillows)
  if isinstance(ours, str):
    assert ours == pillows
  else:
    np.testing.assert_array_equal(ours[0], pillows[0], err_msg=f"size {size}")
    assert ours[1] == pillows[1]


@needs_simplejpeg
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_and_scale_has_the_pixels_of_pillow(mode, monkeypatch):
  kinds = itertools.product(SAMPLINGS, (False, True), (30, 95))
  for sampling, progressive, quality in kinds:
    options = {"progressive": progressive, "quality": quality, "subsampling": sampling}
    stored = encode(picture().convert(mode), "JPEG", **options)
    for size in (128, 64, 18, 9, 4):  # from as it is down to an eighth
      assert_alike(monkeypatch, stored, size)


@needs_simplejpeg
def test_it_is_simplejpeg_that_decodes(monkeypatch, tmp_path):
  stored = encode(picture(), "JPEG", subsampling="4:2:0", restart_marker_blocks=3)
  monkeypatch.setattr(Image, "open", None)
  assert jpeg.decode(stored, 64).pixels.shape == (75, 101, 3)
  path = tmp_path / "a.JPG"
  path.write_bytes(stored)
  np.testing.assert_array_equal(decode(path, 128)[0], decode(stored, 128)[0])


@needs_simplejpeg
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_straight_onto_a_canvas_of_its_size_it_has_the_same_pixels(mode):
  stored = encode(picture().convert(mode), "JPEG")
  canvas = np.zeros((2, 75, 101, 3), np.uint8)
  assert jpeg.decode_into(stored, canvas[1])
  np.testing.assert_array_equal(canvas[1], decode(stored, 128)[0])
  assert not canvas[0].any()
  assert not jpeg.decode_into(stored, np.zeros((75, 100, 3), np.uint8))
  assert not jpeg.decode_into(stored[:-9], canvas[0])  # Pillow is to refuse it


@needs_simplejpeg
def test_what_is_damaged_is_decoded_or_refused_as_by_pillow(monkeypatch):
  stored = encode(picture(), "JPEG", quality=90)
  for kept in (3, 20, 300, len(stored) // 2, len(stored) - 2):
    assert_alike(monkeypatch, stored[:kept], 128)
  assert_alike(monkeypatch, stored + b"behind it", 128)
  rng = np.random.default_rng(0)
  for place in rng.integers(2, len(stored), 60):
    damaged = bytearray(stored)
    damaged[place] ^= 0x55
    assert_alike(monkeypatch, bytes(damaged), 128)


@needs_simplejpeg
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_how_the_camera_was_held_is_not_overlooked(orientation, monkeypatch):
  exif = Image.Exif()
  exif[0x0112] = orientation
  stored = encode(picture(), "JPEG", exif=exif)
  assert jpeg.may_be_turned(stored)
  assert_alike(monkeypatch, stored, 128)
  assert_alike(monkeypatch, stored, 32)
  assert not jpeg.may_be_turned(encode(picture(), "JPEG"))
  padded = stored[:2] + b"\xff" + stored[2:]  # as the standard allows
  assert jpeg.may_be_turned(padded)
  assert_alike(monkeypatch, padded, 128)


def test_a_picture_larger_than_pillow_takes_is_left_to_its_refusal(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
  stored = encode(picture(), "JPEG")
  assert jpeg.decode(stored, 64) is None
  with pytest.raises(UnreadableError, match="DecompressionBomb"):
    decode(stored, 64)
