"""The time of a picture on its way to the device: decoded alone, and in batches.

    python benchmarks/loader.py

Decoding uses one core beside other decoders; an epoch uses all of them, threads beside
the processes of PyTorch's DataLoader with our decoder.
"""

import functools
import io
import itertools

import common
import numpy as np
from PIL import Image

from ssljax import data
from ssljax.data.decode import decode

CANVAS = 256
DECODED = (  # width, height -> canvas
  *((32, 32, 32), (500, 375, 512), (500, 375, CANVAS)),
  *((2000, 1500, 2048), (2000, 1500, 512), (2000, 1500, CANVAS)),
)


class Jpegs(data.Source):
  """A few synthetic photos, over and over."""

  name = "synthetic JPEGs"

  def __init__(self, n: int, width: int, height: int):
    self.n = n
    self.files = [photo(width, height, seed) for seed in range(16)]

  def __len__(self):
    return self.n

  def __getitem__(self, index):
    return {"image": self.files[index % len(self.files)], "label": -1}


def photo(width, height, seed):
  """Smooth waves with fine texture: 500 x 375 gives about 80 KB, as ImageNet does."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[0:height, 0:width]
  waves = [np.sin(x / 37 + c + seed) + np.cos(y / 23 + x / 51 * c) for c in range(3)]
  picture = 127 + 50 * np.stack(waves, -1) + rng.normal(0, 14, (height, width, 3))
  file = io.BytesIO()
  Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(
    file, "JPEG", quality=90
  )
  return file.getvalue()


def with_pillow(_):
  def run(jpeg, size):
    image = Image.open(io.BytesIO(jpeg))
    image.draft("RGB", (2 * size, 2 * size))
    shape = min(image.width, size), min(image.height, size)
    if image.size != shape:
      image = image.resize(shape, Image.Resampling.BICUBIC)
    return np.asarray(image)

  return run


def with_opencv(cv2):
  cv2.setNumThreads(1)

  def run(jpeg, size):
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    shape = min(image.shape[1], size), min(image.shape[0], size)
    if image.shape[1::-1] != shape:  # by areas, sooner than our bicubic weights
      image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

  return run


DECODERS = {"PIL": with_pillow, "cv2": with_opencv}


def epochs(torch, dataset, batch_size, workers):
  """-> a function that makes the batches of one epoch, or None without PyTorch."""
  if not torch:
    return None
  loader = torch.utils.data.DataLoader(
    dataset, batch_size, shuffle=True, num_workers=workers
  )
  return lambda: exhaust(loader)


class Pictures:
  """A source as PyTorch wants it: decoded pictures by number."""

  def __init__(self, source, size):
    self.source, self.size = source, size

  def __len__(self):
    return len(self.source)

  def __getitem__(self, index):
    return np.array(decode(self.source[index]["image"], self.size)[0])


def exhaust(batches):
  for _ in batches:
    pass


def streaming(n, batch_size, repeats, torch):
  """Decoded on the way. One pass each, so that none reads ahead in another's time."""
  photos = Jpegs(n, 500, 375)
  options = {"size": CANVAS, "in_memory": False, "workers": 0}
  peer = epochs(torch, Pictures(photos, CANVAS), batch_size, common.cores())
  common.compare(
    f"picture streamed, 500 x 375 onto {CANVAS}",
    lambda: exhaust(data.eval_batches(photos, batch_size, **options)),
    {"PyTorch DataLoader": peer},
    repeats,
    per=n,
    batch=batch_size,
  )


def in_memory(n, batch_size, repeats, torch):
  small = Jpegs(n, 32, 32)
  loader = data.make_loader(small, batch_size, 0, size=32, in_memory=True, workers=0)
  pictures = np.zeros((n, 32, 32, 3), np.uint8)
  peer = epochs(torch, pictures, batch_size, workers=0)
  common.compare(
    "picture in memory, 32 x 32",
    lambda: exhaust(itertools.islice(loader.iterate(), n // batch_size)),
    {"PyTorch DataLoader": peer},
    repeats,
    per=n,
    batch=batch_size,
  )


def decoding(width, height, size, repeats):
  jpeg = photo(width, height, 0)
  peers = {
    name: module and functools.partial(make(module), jpeg, size)
    for name, make in DECODERS.items()
    for module in [common.peer(name)]
  }
  per = max(1, 10**5 // (width * height))  # as small ones come: one after another
  ours, *theirs = (
    f and functools.partial(times, per, f)
    for f in (functools.partial(decode, jpeg, size), *peers.values())
  )
  case = f"picture decoded, {width} x {height} onto {size}"
  peers = dict(zip(peers, theirs, strict=True))
  common.compare(case, ours, peers, repeats, per, kilobytes=len(jpeg) // 1000)


def times(n, run):
  for _ in range(n):
    run()


def main():
  args = common.arguments(
    __doc__,
    pictures=(1024, 16, "streamed, and five times as many from memory"),
    batch=(256, 8, "pictures"),
    repeats=(5, 1, "of each"),
    decodes=(31, 1, "of each picture that is decoded alone"),
  )
  torch = common.peer("torch")
  options = args.batch, args.repeats, torch
  streaming(
    args.pictures, *options
  )  # first: PyTorch forks, and JAX's threads do not bear that
  in_memory(5 * args.pictures, *options)
  for width, height, size in DECODED:
    decoding(width, height, size, args.decodes)


if __name__ == "__main__":
  main()
