"""What crops keep when the host hands over a canvas in place of the picture.

    python benchmarks/canvas.py

Crops of a canvas beside the same crops of the full picture: "detail" is the energy of
gradients that is left in %, "psnr" the likeness in dB. Pictures are scikit-learn's two
photographs, laid side by side where a picture is larger than they are, and noise whose
spectrum falls as 1 / f up to the finest waves, which are weaker in photographs.
Then what canvases cost: to decode, to hand over, to crop from.
"""

import functools
import io
import itertools
import json

import common
import jax
import numpy as np
from PIL import Image
from sklearn import datasets

from ssljax import augment, data
from ssljax.augment import image as ops
from ssljax.data.decode import Pictures

SHAPES = {  # width, height
  "500 x 375": (500, 375),  # ImageNet's usual one; the mean has 180,000 pixels
  "375 x 500": (375, 500),
  "500 x 188": (500, 188),  # its panoramas: the longer side is 500 mostly
  "1000 x 375": (1000, 375),
  "1600 x 1200": (1600, 1200),
}
TILE = (500, 375)  # pixels of one photograph
LAWS = {  # of crops: pixels of a side, shares of the picture's area
  "simclr": (224, (0.08, 1.0)),
  "moco": (224, (0.2, 1.0)),
  "swav, small": (96, (0.05, 0.14)),
  "dino, small": (96, (0.05, 0.4)),
}
AREAS = {f"{100 * a:g} %": (224, (a, a)) for a in (0.08, 0.14, 0.25, 0.5, 1.0)}
OWN = {"simclr_folder": (128, (0.2, 1.0)), "clip": (224, (0.9, 1.0))}


def kept(side):
  """Ours: a side that fits stays, a longer one is squeezed to `side`."""
  return lambda width, height: (min(side, width), min(side, height))


def squeezed(side):
  """Both sides become `side`."""
  return lambda width, height: (side, side)


def padded(side):
  """The longer side becomes `side`, the shape stays."""

  def fit(width, height):
    scale = side / max(width, height)
    return round(scale * width), round(scale * height)

  return fit


def turned(side):
  """3 x 4 of as many pixels as side x side, uprights lie on their side."""
  short, long = round(side * 0.75**0.5), round(side / 0.75**0.5)

  def fit(width, height):
    most = (long, short) if width > height else (short, long)
    return min(most[0], width), min(most[1], height)

  return fit


SIDES = (160, 256, 320, 384, 448, 512)
CANVASES = {
  **{str(side): (kept(side), side) for side in SIDES},
  **{f"{side}, squeezed": (squeezed(side), side) for side in (256, 384, 512)},
  **{f"{side}, padded": (padded(side), side) for side in (384, 512)},
  "384, turned": (turned(384), 384),
}


def photographs(width, height):
  """Pictures uint8 [H,W,3] of photographs, each reduced to at most 500 x 375 or so."""
  tiles = []
  for picture in datasets.load_sample_images().images:
    image = Image.fromarray(picture)
    cut = image.crop((35, 0, 35 + 427 * 4 // 3, 427))  # of 640 x 427
    tiles.append(np.asarray(cut.resize(TILE, Image.Resampling.LANCZOS)))
  if height > width:
    tiles = [np.rot90(tile) for tile in tiles]
  rows, columns = tiles[0].shape[:2]
  down, across = -(-height // rows), -(-width // columns)
  for first in range(len(tiles)):
    picture = np.concatenate(
      [
        np.concatenate([tiles[(first + r + c) % 2] for c in range(across)], axis=1)
        for r in range(down)
      ]
    )
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    yield picture[top : top + height, left : left + width]


def noise(width, height, seed):
  """uint8 [H,W,3]: random phases, amplitude 1 / f."""
  rng = np.random.default_rng(seed)
  f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
  f[0, 0] = 1
  planes = np.fft.irfft2(
    np.fft.rfft2(rng.normal(size=(3, height, width))) / f, (height, width)
  )
  planes -= planes.mean((1, 2), keepdims=True)
  planes *= 50 / planes.std((1, 2), keepdims=True)
  return np.uint8(np.clip(np.moveaxis(planes, 0, 2) + 127, 0, 255))


def on_canvas(picture, shape):
  return np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))


@functools.partial(jax.jit, static_argnums=2)
def crops(image, boxes, size):
  """Bicubic: uint8 [H,W,3], boxes [N,4] as shares of the sides -> [N,3,size,size]."""
  height, width = image.shape[:2]
  boxes = boxes * np.float32([height, width, height, width])

  def crop(box):
    return ops.crop_resize(image, tuple(box), False, size, "bicubic")

  return jax.vmap(crop)(boxes)


def draw(areas, width, height, count, seed=0):
  """`count` boxes [N,4] of RandomResizedCrop, as shares of the sides."""
  u = np.random.default_rng(seed).random((count, ops.BOX_DRAWS), np.float32)
  box = functools.partial(ops.crop_box, scale=areas, height=height, width=width)
  boxes = jax.jit(jax.vmap(lambda u: box(u, aspect=np.float32(width / height))))(u)
  return np.stack(boxes, 1) / np.float32([height, width, height, width])


def energy(x):
  return float(np.mean(np.diff(x, axis=2) ** 2) + np.mean(np.diff(x, axis=3) ** 2))


def likeness(ours, theirs):
  """Crops of canvases, the same of pictures -> detail in %, PSNR in dB."""
  error = float(np.mean((ours - theirs) ** 2))
  return {
    "detail": 100 * energy(ours) / energy(theirs),
    "psnr": float(-10 * np.log10(max(error, 1e-12))),
  }


def report(case, **figures):
  facts = {
    "device": jax.devices()[0].device_kind,
    "cores": common.cores(),
    "versions": common.versions(),
  }
  numbers = {k: v for k, v in figures.items() if isinstance(v, float)}
  line = {"case": case, **figures, **common.rounded(numbers), **facts}
  print(json.dumps(line), flush=True)


def quality(shape, laws, canvases, count):
  width, height = SHAPES[shape]
  kinds = {
    "photographs": list(photographs(width, height)),
    "1/f noise": [noise(width, height, seed) for seed in range(2)],
  }
  for law, (kind, pictures) in itertools.product(laws, kinds.items()):
    size, areas = laws[law]
    boxes = draw(areas, width, height, count)

    def cut(pictures, boxes=boxes, size=size):
      return np.concatenate([crops(picture, boxes, size) for picture in pictures])

    full = cut(pictures)
    for name in canvases:
      fit, side = CANVASES[name]
      fitted = [on_canvas(picture, fit(width, height)) for picture in pictures]
      report(
        "crops",
        picture=shape,
        kind=kind,
        canvas=name,
        kilobytes=3 * side**2 / 1000,
        law=law,
        view=size,
        **likeness(cut(fitted), full),
      )


def cost(side, repeats, batch_size):
  for width, height in ((500, 375), (1600, 1200)):
    file = io.BytesIO()
    picture = Image.fromarray(next(photographs(width, height)))
    picture.save(file, "JPEG", quality=90)
    run = functools.partial(Pictures(side).decode, {"image": file.getvalue()})
    time(repeats, run, "decode", side, f"{width} x {height}")
  codec = Pictures(side)
  batch = data.zeros(data.spec(codec), batch_size)
  for name, value in codec.decode({"image": next(photographs(500, 375))}).items():
    batch[name][:] = value
  batch, key = jax.device_put((batch, jax.random.key(0)))
  for recipe in ("byol", "dino"):
    views = jax.jit(augment.build({"recipe": recipe}))

    def run(views=views):
      jax.block_until_ready(views(key, batch))

    time(repeats, run, "views of a picture", side, recipe, per=batch_size)


def time(repeats, run, case, side, what, per=1):
  run()
  (figures,) = common.medians(repeats, functools.partial(common.timed, run, per))
  report(case, of=what, canvas=side, kilobytes=3 * side**2 / 1000, **figures)


def main():
  args = common.arguments(
    __doc__,
    crops=(16, 1, "drawn by each law from each picture"),
    repeats=(9, 1, "of what is timed"),
    batch=(8, 1, "pictures whose views are drawn at once"),
  )
  if args.quick:
    quality("500 x 188", {"simclr": LAWS["simclr"]}, ("256", "512"), args.crops)
    cost(256, args.repeats, args.batch)
    return
  names = [name for name in CANVASES if name != "160"]
  for shape in SHAPES:
    laws = LAWS | (AREAS if shape == "500 x 375" else {})
    quality(shape, laws, names, args.crops)
  for shape in ("500 x 375", "1600 x 1200"):
    quality(shape, OWN, [str(side) for side in SIDES], args.crops)
  for side in SIDES:
    cost(side, args.repeats, args.batch)


if __name__ == "__main__":
  main()
