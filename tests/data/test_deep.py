"""Pictures of more than 8 bits, and odd ones, against NumPy by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import config, encode, smooth
from PIL import Image, ImageOps, PngImagePlugin

from ssljax import data
from ssljax.data import deep
from ssljax.data.decode import UnreadableError, decode

SIDE = 16


def png(x, bits=16, significant=None):
  """[H,W] or [H,W,3 or 4] -> a PNG, which Pillow cannot write of 16-bit colours."""
  kinds = {1: 0, 2: 4, 3: 2, 4: 6}
  x = x if x.ndim == 3 else x[..., None]
  height, width, channels = x.shape
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in x)
  head = struct.pack(">IIBBBBB", width, height, bits, kinds[channels], 0, 0, 0)
  chunks = [(b"IHDR", head)]
  if significant:
    chunks.append((b"sBIT", bytes([significant] * channels)))
  chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
  framed = [
    struct.pack(">I", len(body))
    + name
    + body
    + struct.pack(">I", zlib.crc32(name + body))
    for name, body in chunks
  ]
  return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def tiff_by_hand(rows, shape, bits, deflated=False, order="<"):
  """Packed rows of [H,W] or [H,W,3] -> a TIFF of one strip."""
  height, width, *channels = shape
  count = channels[0] if channels else 1
  strip = zlib.compress(rows) if deflated else rows
  offset = 8 + len(strip)
  pairs = [(256, width), (257, height), (258, bits), (259, 8 if deflated else 1)]
  pairs += [(262, 2 if count == 3 else 1), (273, 8), (277, count), (278, height)]
  pairs += [(279, len(strip))]
  entries = b""
  for tag, value in pairs:
    number, where = 1, struct.pack(f"{order}HH", value, 0)
    if tag == 258 and count == 3:  # three of them lie behind the directory
      behind = offset + 2 + 12 * len(pairs) + 4
      number, where = 3, struct.pack(f"{order}I", behind)
    entries += struct.pack(f"{order}HHI", tag, 3, number) + where
  directory = struct.pack(f"{order}H", len(pairs)) + entries + bytes(4)
  head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, offset)
  return head + strip + directory + struct.pack(f"{order}3H", *[bits] * 3)


def tiff(x, **options):
  return encode(Image.fromarray(x), "TIFF", **options)


def ramp(top, dtype=np.uint16, low=0):
  """[SIDE,SIDE] from `low` to `top`, both included."""
  return np.round(np.linspace(low, top, SIDE * SIDE)).reshape(SIDE, SIDE).astype(dtype)


def build(root, files):
  root.mkdir(exist_ok=True)
  for name, content in files.items():
    (root / name).parent.mkdir(exist_ok=True, parents=True)
    (root / name).write_bytes(content)
  return data.build(config(name="folder", dir=str(root), size=SIDE))


def canvases(source):
  batches = data.eval_batches(source, 1, size=SIDE, in_memory=False, workers=1)
  return [b["image"][0] for b in batches if b["mask"][0]]


def grey(x):
  return np.repeat(np.round(x)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("write", [png, tiff])
@pytest.mark.parametrize(
  ("top", "white"),
  [(65535, 65535), (4095, 4095), (3000, 4095), (900, 1023), (200, 255)],
)
def test_white_is_the_power_of_two_above_all_pictures(tmp_path, write, top, white):
  files = {"a.png": write(ramp(top)), "b.png": write(ramp(top // 8))}
  train = build(tmp_path, files).train
  for image, x in zip(canvases(train), (ramp(top), ramp(top // 8)), strict=True):
    np.testing.assert_array_equal(image, grey(x / white * 255))


def test_the_range_is_told_and_the_same_in_both_splits(tmp_path, caplog):
  dark = ramp(700)
  files = {f"train/{c}/0.png": png(ramp(4000)) for c in "ab"}
  files |= {f"val/{c}/0.png": png(dark) for c in "ab"}
  splits = build(tmp_path, files)
  np.testing.assert_array_equal(canvases(splits.eval)[0], grey(dark / 4095 * 255))
  assert "0 is black and 4095 white, by 2 of them" in caplog.text


def test_bits_that_a_file_claims_count_where_its_numbers_fit(tmp_path):
  x = ramp(900)
  train = build(tmp_path, {"a.png": png(x, significant=12)}).train
  np.testing.assert_array_equal(canvases(train)[0], grey(x / 4095 * 255))
  # As the standard has it: 12 bits are scaled to 16, and fill them.
  x = ramp(65535)
  train = build(tmp_path, {"a.png": png(x, significant=12)}).train
  np.testing.assert_array_equal(canvases(train)[0], grey(x / 65535 * 255))


@pytest.mark.parametrize("deflated", [False, True])
def test_a_tiff_of_12_bits_a_sample_is_of_12(tmp_path, deflated):
  x = ramp(700)
  pairs = x.reshape(SIDE, -1, 2).astype(np.uint32)  # two numbers in three bytes
  both = (pairs[..., 0] << 12 | pairs[..., 1])[..., None]
  packed = (both >> np.array([16, 8, 0])) & 255
  stored = tiff_by_hand(packed.astype(np.uint8).tobytes(), x.shape, 12, deflated)
  train = build(tmp_path, {"a.tif": stored}).train
  np.testing.assert_array_equal(canvases(train)[0], grey(x / 4095 * 255))


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_colours_of_a_tiff_of_16_bits_keep_what_they_have(tmp_path, deflated, order):
  x = np.stack([ramp(4000), ramp(3000), ramp(2000)], axis=2)
  rows = x.astype(f"{order}u2").tobytes()
  stored = tiff_by_hand(rows, x.shape, 16, deflated, order)
  train = build(tmp_path, {"a.tif": stored}).train
  expected = np.round(x / 4095 * 255)
  np.testing.assert_array_equal(canvases(train)[0], expected.astype(np.uint8))


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_12_bits_in_16_are_not_black(tmp_path, channels):
  x = np.stack([ramp(4000), ramp(3000), ramp(2000), 0 * ramp(1) + 65535], axis=2)
  x = x[..., :channels]
  train = build(tmp_path, {"a.png": png(x)}).train
  expected = np.round(x[..., :3] / 4095 * 255)
  np.testing.assert_array_equal(canvases(train)[0], expected.astype(np.uint8))
  full = np.stack([ramp(65535)] * 3, axis=2)
  train = build(tmp_path, {"a.png": png(full)}).train
  np.testing.assert_array_equal(canvases(train)[0], full >> 8)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_of_16_bits_is_of_all_of_them(tmp_path, channels):
  alpha = ramp(65535)
  colours = [ramp(4000), ramp(3000), ramp(2000)][: channels - 1]
  x = np.stack([*colours, alpha], axis=2)
  train = build(tmp_path, {"a.png": png(x)}).train
  share = (alpha >> 8)[..., None] / 255
  expected = np.round(x[..., :-1] / 4095 * 255) * share + 255 * (1 - share)
  expected = np.broadcast_to(expected, (SIDE, SIDE, 3))
  np.testing.assert_allclose(canvases(train)[0], expected, atol=1)


def test_floats_go_from_the_least_to_the_greatest_of_the_split(tmp_path):
  x = np.linspace(0, 0.9, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
  y = np.linspace(-0.2, 0.05, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
  x[0, 0] = np.nan
  train = build(tmp_path, {"a.tif": tiff(x), "b.tif": tiff(y)}).train
  low, high = -0.2, 0.9
  image, other = canvases(train)
  expected = np.clip(np.nan_to_num(x).astype(np.float64) - low, 0, None)
  np.testing.assert_allclose(image, grey(255 * expected / (high - low)), atol=1)
  np.testing.assert_allclose(other, grey(255 * (y - low) / (high - low)), atol=1)


def test_numbers_of_32_bits_with_and_without_a_sign(tmp_path):
  x = ramp(10**6, np.int32)
  train = build(tmp_path / "a", {"a.tif": tiff(x)}).train
  np.testing.assert_array_equal(canvases(train)[0], grey(x / (2**20 - 1) * 255))
  x = ramp(3000, np.int32, low=-1000)  # as of a scanner
  train = build(tmp_path / "b", {"a.tif": tiff(x)}).train
  np.testing.assert_array_equal(canvases(train)[0], grey((x + 1000) / 4000 * 255))


def test_8_bits_beside_16_stay_as_they_are(tmp_path):
  shallow = smooth(SIDE, SIDE)
  train = build(tmp_path, {"a.png": encode(shallow), "b.png": png(ramp(4095))}).train
  image, other = canvases(train)
  np.testing.assert_array_equal(image, shallow)
  np.testing.assert_array_equal(other, grey(ramp(4095) / 4095 * 255))


def test_of_unknown_range_16_bits_are_full_and_floats_unreadable():
  np.testing.assert_array_equal(
    decode(png(ramp(65535)), SIDE)[0], grey(ramp(65535) / 257)
  )
  with pytest.raises(UnreadableError, match="floats"):
    decode(tiff(np.ones((4, 4), np.float32)), 4)


def test_planes_of_colours_of_12_bits_are_not_black(tmp_path):
  x = np.stack([ramp(4000), ramp(3000, low=100), ramp(2000)], axis=2)
  (tmp_path / "rgb").mkdir()
  (tmp_path / "rgb" / "a.png").write_bytes(png(x))
  fields = {"dir": str(tmp_path), "size": SIDE, "planes": (("rgb", 3),)}
  train = data.build(config(name="arrays", **fields)).train
  expected = np.round(x / 4000 * 255)
  np.testing.assert_array_equal(canvases(train)[0], expected.astype(np.uint8))


def pillow(stored):
  """Upright, on white, with 8 bits: written with other calls than ours."""
  image = ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
  if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
    x = np.asarray(image.convert("RGBA")).astype(np.float64)
    share = x[..., 3:] / 255
    return np.round(x[..., :3] * share + 255 * (1 - share)).astype(int)
  return np.asarray(image.convert("RGB")).astype(int)


def modes():
  rgb = Image.fromarray(smooth(SIDE, SIDE))
  alpha = Image.fromarray(ramp(255, np.uint8))
  la = Image.merge("LA", (rgb.convert("L"), alpha))
  frames = [Image.fromarray(smooth(SIDE, SIDE, i)) for i in range(3)]
  more = {"save_all": True, "append_images": frames[1:]}
  return {
    "1-bit PNG": encode(rgb.convert("1"), "PNG"),
    "1-bit TIFF": encode(rgb.convert("1"), "TIFF", compression="group4"),
    "palette": encode(rgb.quantize(8), "PNG"),
    "palette with transparency": encode(rgb.quantize(8), "PNG", transparency=3),
    "palette with bytes of it": encode(
      rgb.quantize(4), "PNG", transparency=bytes([0, 100, 200, 255])
    ),
    "grey with alpha": encode(la, "PNG"),
    "grey with a transparent value": encode(rgb.convert("L"), "PNG", transparency=127),
    "CMYK of Adobe": encode(rgb.convert("CMYK"), "JPEG"),
    "CMYK TIFF": encode(rgb.convert("CMYK"), "TIFF"),
    "YCbCr TIFF": encode(rgb.convert("YCbCr"), "TIFF"),
    "animated GIF": encode(frames[0], "GIF", **more),
    "animated PNG": encode(frames[0], "PNG", **more),
    "animated WebP": encode(frames[0], "WEBP", lossless=True, **more),
    "TIFF of pages": encode(frames[0], "TIFF", **more),
  }


@pytest.mark.parametrize("kind", modes())
def test_every_mode_is_what_pillow_makes_of_its_first_frame(kind):
  stored = modes()[kind]
  canvas, aspect = decode(stored, SIDE)
  np.testing.assert_allclose(canvas, pillow(stored), atol=1)
  assert aspect == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("grey16", [False, True])
def test_orientation_is_applied_in_every_format(format, orientation, grey16):
  if grey16 and format not in ("PNG", "TIFF"):
    return
  exif = Image.Exif()
  exif[0x0112] = orientation
  x = np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 150
  picture = Image.fromarray(x) if grey16 else Image.fromarray(smooth(24, 16))
  options = {"lossless": True} if format == "WEBP" else {}
  stored = encode(picture, format, exif=exif, **options)
  upright = ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
  if grey16:
    upright = Image.fromarray(np.uint8(np.round(np.asarray(upright) / 257)))
  for size in (48, 20):  # what fits stays as it is
    fitted, aspect = decode(stored, size)
    sides = min(size, upright.width), min(size, upright.height)
    expected = upright.convert("RGB").resize(sides, Image.Resampling.BICUBIC)
    np.testing.assert_allclose(fitted, np.asarray(expected).astype(int), atol=1)
    assert aspect == upright.width / upright.height


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_may_stand_in_xmp(format):
  xmp = '<rdf:Description tiff:Orientation="6"/>'
  if format == "PNG":
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    options = {"pnginfo": info}
  elif format == "TIFF":
    options = {"tiffinfo": {700: xmp.encode(), 0x0112: 6}}
  else:
    options = {"xmp": xmp.encode()}
  stored = encode(smooth(24, 16), format, **options)
  upright = ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
  assert upright.size == (16, 24)
  fitted, aspect = decode(stored, 24)
  np.testing.assert_allclose(fitted, np.asarray(upright).astype(int), atol=1)
  assert aspect == 16 / 24


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 20_000), (20_000, 3)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_pictures_of_any_shape_fit_a_canvas(shape, format):
  height, width = shape
  x = np.full((height, width, 3), (200, 100, 50), np.uint8)
  options = {"quality": 100} if format == "JPEG" else {}
  fitted, aspect = decode(encode(x, format, **options), 8)
  expected = np.full((min(8, height), min(8, width), 3), (200, 100, 50))
  np.testing.assert_allclose(fitted, expected, atol=4)
  assert aspect == width / height


def test_a_picture_too_large_to_open_is_named_and_no_crash(tmp_path, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
  files = {"a.png": encode(smooth(8, 8)), "b.png": encode(smooth(400, 400))}
  train = build(tmp_path, files).train
  assert train.files == ["a.png"]
  with pytest.raises(UnreadableError, match="DecompressionBombError"):
    decode(tmp_path / "b.png", 8)


def test_the_range_of_a_set_is_measured_on_no_more_than_it_says(monkeypatch, tmp_path):
  monkeypatch.setattr(deep, "SAMPLED", 3)
  files = {f"{i}.png": png(ramp(60 * 2**i)) for i in range(7)}
  train = build(tmp_path, files).train
  assert train.depths["whole"] == (0, 4095)  # of numbers 0, 3 and 6
