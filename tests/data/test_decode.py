import io

import numpy as np
import pytest
from pictures import encode, smooth
from PIL import Image, ImageOps

from ssljax.data.decode import Pictures, UnreadableError, decode


def pillow(image, size):
  shape = min(image.width, size), min(image.height, size)
  return np.asarray(image.resize(shape, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("shape", [(40, 30), (20, 9), (9, 60)])
def test_a_side_longer_than_the_canvas_is_squeezed_and_the_aspect_kept(shape):
  width, height = shape
  picture = smooth(width, height)
  fitted, aspect = decode(encode(picture), 16)
  np.testing.assert_array_equal(fitted, pillow(Image.fromarray(picture), 16))
  assert fitted.shape == (min(height, 16), min(width, 16), 3)
  assert fitted.dtype == np.uint8
  assert aspect == width / height
  again, _ = decode(picture, 16)
  np.testing.assert_array_equal(again, fitted)


@pytest.mark.parametrize("shape", [(16, 16), (9, 7), (16, 3)])
def test_a_picture_that_fits_is_not_touched(shape):
  picture = smooth(*shape)
  np.testing.assert_array_equal(decode(encode(picture), 16)[0], picture)


def test_a_picture_lies_in_the_corner_of_its_canvas():
  picture = smooth(9, 7)
  example = Pictures(16).decode({"image": encode(picture)})
  assert {k: np.shape(v) for k, v in example.items()} == {
    name: shape for name, (shape, _) in Pictures(16).spec.items()
  }
  assert tuple(example["extent"]) == (7, 9)
  assert example["aspect"] == np.float32(9 / 7)
  np.testing.assert_array_equal(example["image"][:7, :9], picture)
  assert not example["image"][7:].any()
  assert not example["image"][:, 9:].any()


def test_a_row_of_a_batch_keeps_nothing_of_what_was_there():
  codec, example = Pictures(16), {"image": encode(smooth(9, 7))}
  batch = {
    name: np.ones((2, *shape), dtype) for name, (shape, dtype) in codec.spec.items()
  }
  codec.fill(example, batch, 1)
  for name, value in codec.decode(example).items():
    np.testing.assert_array_equal(batch[name][1], value)
    assert (batch[name][0] == 1).all()


def test_a_large_jpeg_scaled_by_its_decoder_looks_the_same():
  picture = Image.fromarray(smooth(800, 600))
  jpeg = encode(picture, "JPEG", quality=95)
  canvas, aspect = decode(jpeg, 64)
  np.testing.assert_allclose(canvas, pillow(picture, 64), atol=4)
  assert aspect == 800 / 600


def test_greys_become_three_equal_channels():
  grey = smooth(16, 16)[..., 0]
  expected = np.repeat(grey[..., None], 3, -1)
  deep = Image.fromarray(grey.astype(np.uint16) * 257)
  for stored in (encode(grey), encode(deep), grey, grey[..., None]):
    np.testing.assert_array_equal(decode(stored, 16)[0], expected)


def test_transparency_is_laid_on_white():
  rgba = np.dstack([smooth(16, 16), np.full((16, 16), 255, np.uint8)])
  rgba[:8, :, 3] = 0
  canvas, _ = decode(encode(rgba), 16)
  np.testing.assert_array_equal(canvas[:8], 255)
  np.testing.assert_array_equal(canvas[8:], rgba[8:, :, :3])
  palette = Image.fromarray(np.repeat(np.uint8([[0, 1]]), 2, 0), "P")
  palette.putpalette([10, 20, 30, 40, 50, 60])
  canvas, _ = decode(encode(palette, transparency=1), 2)
  np.testing.assert_array_equal(canvas[:, 0], [[10, 20, 30]] * 2)
  np.testing.assert_array_equal(canvas[:, 1], 255)


@pytest.mark.parametrize(
  ("mode", "format"), [("P", "GIF"), ("CMYK", "JPEG"), ("1", "PNG")]
)
def test_other_modes_become_the_rgb_of_pillow(mode, format):
  stored = encode(Image.fromarray(smooth(16, 16)).convert(mode), format)
  expected = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
  np.testing.assert_array_equal(decode(stored, 16)[0], expected)


@pytest.mark.parametrize("size", [8, 20, 32])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, size):
  exif = Image.Exif()
  exif[0x0112] = orientation
  stored = Image.fromarray(smooth(24, 16))
  canvas, aspect = decode(encode(stored, exif=exif), size)
  stored.getexif()[0x0112] = orientation
  upright = ImageOps.exif_transpose(stored)
  np.testing.assert_allclose(canvas, pillow(upright, size).astype(int), atol=1)
  assert aspect == upright.width / upright.height


@pytest.mark.parametrize(
  "stored",
  [
    b"",
    b"hello",
    encode(smooth(64, 64))[:900],
    encode(smooth(64, 64), "JPEG")[:900],
    encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
  ],
)
def test_what_cannot_be_decoded_raises_one_kind_of_error(stored):
  with pytest.raises(UnreadableError):
    decode(stored, 16)
