"""The time of a view on one core (or one accelerator), beside Pillow's on one core.

    python benchmarks/augment.py

The peers do the same recipe with pictures of Pillow: by torchvision's transforms, and
by Pillow alone.
"""

import os
import random

import common
import jax
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ssljax import augment, data
from ssljax.augment import views

transforms = common.peer("torchvision.transforms")

CASES = {  # name -> config, height and width, canvas
  "simclr, 32 pixels": ({"recipe": "simclr", "size": 32}, (32, 32), 32),
  "byol, 224 pixels of 500 x 375": ({"recipe": "byol"}, (375, 500), 512),
}


def blurred(picture):
  return picture.filter(ImageFilter.GaussianBlur(random.uniform(*views.SIGMA)))


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


def peer_run(make, recipe, images):
  """-> a function that draws all views of all images with the peer's transforms."""
  draws = [make(view, recipe.mean, recipe.std) for view in recipe.views]
  pictures = [Image.fromarray(image) for image in images]
  return lambda: [draw(picture) for picture in pictures for draw in draws]


def measure(name, batch_size, repeats):
  config, (height, width), canvas = CASES[name]
  recipe = augment.configure(config)
  shape = batch_size, height, width, 3
  images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  batch = data.zeros(data.spec(data.Pictures(canvas)), batch_size)
  batch["image"][:, :height, :width] = images
  batch["extent"][:], batch["aspect"][:] = (height, width), width / height
  batch["index"][:] = np.arange(batch_size)
  batch, key = jax.device_put((batch, jax.random.key(0)))
  draw = jax.jit(augment.build(config))
  peers = {
    "torchvision": transforms and peer_run(torchvision_view, recipe, images),
    "Pillow": peer_run(pillow_view, recipe, images),
  }
  common.compare(
    f"view, {name}",
    lambda: jax.block_until_ready(draw(key, batch)),
    peers,
    repeats,
    per=batch_size * len(recipe.views),
    batch=batch_size,
  )


def main():
  args = common.arguments(
    __doc__,
    batches=((256, 16), (8, 2), "pictures of 32 and of 224 pixels"),
    repeats=(9, 1, "of each"),
  )
  one = {min(os.sched_getaffinity(0))}
  os.sched_setaffinity(0, one)  # before JAX and PyTorch count their threads
  for name, batch_size in zip(CASES, args.batches, strict=True):
    measure(name, batch_size, args.repeats)


if __name__ == "__main__":
  main()
