"""Microseconds per view on one core (or one accelerator), and a peer's beside it.

    python benchmarks/augment.py

The peer does the same recipe on one core with Pillow pictures: torchvision where it
can be imported, else Pillow alone. Runs are interleaved; medians are printed, one line
of JSON a case.
"""

import json
import os
import random
import statistics
import time

import jax
import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ssljax import augment

try:
  import torch
  import torchvision
  from torchvision import transforms
except (ImportError, RuntimeError):  # RuntimeError: built for another torch
  torchvision = None

CASES = {  # name -> config, canvas, batch, pictures that the peer is timed on
  "simclr, 32 pixels": ({"recipe": "simclr", "size": 32}, 32, 256, 64),
  "byol, 224 pixels": ({"recipe": "byol"}, 256, 16, 8),
}
REPEATS = 9


def blurred(picture):
  return picture.filter(ImageFilter.GaussianBlur(random.uniform(*augment.SIGMA)))


def torchvision_view(view, mean, std):
  """The numbers of a View as the transforms of the papers' code."""
  kind = transforms.InterpolationMode(view.interpolation)
  scale = (view.crop_min, view.crop_max)
  return transforms.Compose(
    [
      transforms.RandomResizedCrop(view.size, scale, interpolation=kind),
      transforms.RandomHorizontalFlip(view.flip),
      transforms.RandomApply([transforms.ColorJitter(*view.jitter)], view.jitter_p),
      transforms.RandomGrayscale(view.gray_p),
      transforms.RandomApply([transforms.Lambda(blurred)], view.blur_p),
      transforms.RandomSolarize(128, view.solarize_p),
      transforms.ToTensor(),
      transforms.Normalize(mean, std),
    ]
  )


def shifted_hue(picture, turn):
  hue, saturation, value = picture.convert("HSV").split()
  hue = (np.asarray(hue) + np.int32(turn * 255)).astype(np.uint8)
  return Image.merge("HSV", (Image.fromarray(hue), saturation, value)).convert("RGB")


def pillow_view(view, mean, std):
  """The same without torchvision."""
  kind = Image.Resampling[view.interpolation.upper()]
  factors = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
  mean, std = np.float32(mean), np.float32(std)

  def draw(picture):
    area = random.uniform(view.crop_min, view.crop_max)
    ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    w = min(picture.width, round(picture.width * (area * ratio) ** 0.5))
    h = min(picture.height, round(picture.height * (area / ratio) ** 0.5))
    left = random.randint(0, picture.width - w)
    top = random.randint(0, picture.height - h)
    x = picture.crop((left, top, left + w, top + h)).resize(2 * (view.size,), kind)
    if random.random() < view.flip:
      x = x.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < view.jitter_p:
      for operation in random.sample(range(4), 4):
        s = view.jitter[operation]
        if operation == 3:
          x = shifted_hue(x, random.uniform(-s, s))
        else:
          x = factors[operation](x).enhance(random.uniform(max(0, 1 - s), 1 + s))
    if random.random() < view.gray_p:
      x = x.convert("L").convert("RGB")
    if random.random() < view.blur_p:
      x = blurred(x)
    if random.random() < view.solarize_p:
      x = ImageOps.solarize(x, 128)
    return (np.asarray(x, np.float32) / 255 - mean) / std

  return draw


def seconds(run):
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def measure(name):
  config, canvas, batch_size, peer_size = CASES[name]
  recipe = augment.configure(config)
  image = np.random.default_rng(0).integers(
    0, 256, (batch_size, canvas, canvas, 3), np.uint8
  )
  batch = {"image": image, "index": np.arange(batch_size, dtype=np.int32)}
  batch, key = jax.device_put((batch, jax.random.key(0)))
  views = jax.jit(augment.build(config))
  make = torchvision_view if torchvision else pillow_view
  peers = [make(view, recipe.mean, recipe.std) for view in recipe.views]
  pictures = [Image.fromarray(x) for x in image[:peer_size]]

  def ours():
    jax.block_until_ready(views(key, batch))

  def theirs():
    for picture in pictures:
      for peer in peers:
        peer(picture)

  ours()
  theirs()
  pairs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]
  drawn = 1e-6 * len(recipe.views)
  microseconds = statistics.median(a for a, _ in pairs) / drawn / batch_size
  peer_microseconds = statistics.median(b for _, b in pairs) / drawn / peer_size
  return {
    "case": name,
    "microseconds_per_view": round(microseconds, 1),
    "peer": "torchvision" if torchvision else "Pillow (torchvision: skipped)",
    "peer_microseconds_per_view": round(peer_microseconds, 1),
    "times_faster": round(peer_microseconds / microseconds, 1),
    "batch": batch_size,
    "repeats": REPEATS,
    "device": f"{jax.devices()[0].device_kind}, 1 of {os.cpu_count()} cores",
    "jax": jax.__version__,
    "pillow": PIL.__version__,
    "torchvision": torchvision.__version__ if torchvision else None,
  }


def main():
  os.sched_setaffinity(
    0, {min(os.sched_getaffinity(0))}
  )  # before JAX counts its threads
  if torchvision:
    torch.set_num_threads(1)
  for name in CASES:
    print(json.dumps(measure(name)), flush=True)


if __name__ == "__main__":
  main()
