"""What the host can feed: JPEGs decoded a second and core, batches a second.

    python benchmarks/loader.py

One JSON line a measurement, medians over repetitions. "per core" divides by the
processor time used, so that neighbours on the machine weigh less.
"""

import importlib
import importlib.metadata
import importlib.util
import io
import itertools
import json
import os
import statistics
import time

import numpy as np
from PIL import Image

from ssljax import data
from ssljax.data.decode import decode

CANVAS = 256
BATCH = 256


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


def report(what, **values):
  print(json.dumps({"what": what, **values}), flush=True)


def with_simplejpeg(simplejpeg):
  def run(jpeg, size):
    image = Image.fromarray(simplejpeg.decode_jpeg(jpeg))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))

  return run


def with_opencv(cv2):
  cv2.setNumThreads(1)

  def run(jpeg, size):
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

  return run


PEERS = {"simplejpeg": with_simplejpeg, "cv2": with_opencv}


def decoding():
  decoders = {"ssljax (Pillow)": decode}
  for name, make in PEERS.items():
    if importlib.util.find_spec(name):
      decoders[name] = make(importlib.import_module(name))
    else:
      report("decode", decoder=name, skipped="not installed")
  for width, height, size in ((500, 375, CANVAS), (2000, 1500, CANVAS), (32, 32, 32)):
    jpeg = photo(width, height, 0)
    for name, function in decoders.items():
      seconds = []
      for _ in range(31):
        start = time.thread_time()
        function(jpeg, size)
        seconds.append(time.thread_time() - start)
      report(
        "decode",
        decoder=name,
        picture=[width, height],
        kilobytes=round(len(jpeg) / 1000),
        canvas=size,
        per_second_and_core=round(1 / statistics.median(seconds)),
      )


def timed(batches, n, repetitions=3):
  """-> batches a second of wall time, and of processor time."""
  next(batches)
  wall, processor = [], []
  for _ in range(repetitions):
    start = time.perf_counter(), time.process_time()
    for _ in itertools.islice(batches, n):
      pass
    wall.append(n / (time.perf_counter() - start[0]))
    processor.append(n / (time.process_time() - start[1]))
  batches.close()
  return statistics.median(wall), statistics.median(processor)


def loading(what, source, size, in_memory, n):
  loader = data.make_loader(source, BATCH, 0, size=size, in_memory=in_memory, workers=0)
  wall, processor = timed(loader.iterate(), n)
  report(
    what,
    batch=BATCH,
    canvas=size,
    batches_per_second=round(wall, 1),
    pictures_per_second_and_core=round(processor * BATCH),
  )


def torch_loading(source, size):
  if not importlib.util.find_spec("torch"):
    report("torch DataLoader", skipped="not installed")
    return
  from torch.utils.data import DataLoader

  class Decoded:
    def __len__(self):
      return len(source)

    def __getitem__(self, index):
      return np.array(decode(source[index]["image"], size)[0])

  workers = os.cpu_count()
  peer = DataLoader(Decoded(), BATCH, shuffle=True, num_workers=workers)
  batches = (b for _ in itertools.count() for b in peer)
  wall, _ = timed(batches, 4)
  report(
    "torch DataLoader", batch=BATCH, canvas=size, batches_per_second=round(wall, 1)
  )


def main():
  packages = ("numpy", "pillow", "simplejpeg", "opencv-python-headless", "torch")
  versions = {}
  for package in packages:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = None
  report("versions", cores=os.cpu_count(), **versions)
  decoding()
  loading("in memory", Jpegs(20_000, 32, 32), 32, True, 200)
  photos = Jpegs(4096, 500, 375)
  loading("streaming", photos, CANVAS, False, 4)
  torch_loading(photos, CANVAS)


if __name__ == "__main__":
  main()
