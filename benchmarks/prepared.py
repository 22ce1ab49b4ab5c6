"""What a picture costs that was decoded once, beside the picture itself.

    python benchmarks/prepared.py

Photos of 500 x 375 in a folder are read as they are, from canvases at JPEG q95 and from
raw ones: by one thread, out of the page cache, into a batch, and by all the loader's.
Cores are those that 7,000 pictures a second would keep busy, by CPU time.
"""

import functools
import json
import pathlib
import tempfile

import common
import jax
import loader
import numpy as np
from ml_collections import ConfigDict

from ssljax import data
from ssljax.data import prepared, preparing
from ssljax.data.reader import Reader

WANTED = 7000  # pictures a second
FORMS = ("raw", "jpeg")


def make(folder, n):
  photos = [loader.photo(500, 375, seed) for seed in range(16)]
  for i in range(n):
    path = folder / "photos" / "ab"[i % 2] / f"{i:05d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photos[i % 16])


def open_all(folder, size):
  """-> name: a source of the same pictures, and the levels of 255 that they are off."""
  group = {"name": "folder", "dir": str(folder / "photos"), "train_split": "."}
  group |= {"eval_split": "", "size": size, "workers": 0}
  splits = data.as_they_are(ConfigDict(group))._replace(eval=None)
  identities = {"train": data.identify(splits.train)}
  opened = {"source": (splits.train, 0.0)}
  for form in FORMS:
    where = folder / f"{form}_{size}"
    where.mkdir()
    manifest = prepared.manifest_of(splits, size, form, identities)
    preparing.begin(where, manifest)
    preparing.write(splits, manifest, where, common.cores())
    read = prepared.open_splits(splits, manifest, where)
    opened[form] = read.train, preparing.compare(splits, read, size)
  return opened


def kilobytes(source):
  if isinstance(source, prepared.Prepared):
    return float(source.canvases.columns["length"].mean() / 1000)
  return float(np.mean([example["image"].stat().st_size for example in source]) / 1000)


def fill(source, size, count):
  """-> a function that reads `count` pictures into a batch, in one thread."""
  reader = Reader(source, size)
  batch = data.zeros(reader.spec, count)
  order = np.random.default_rng(0).permutation(len(source))[:count]
  return functools.partial(reader.fill, batch, 0, order)


def stream(source, size, batch_size):
  options = {"size": size, "in_memory": False, "workers": 0}
  return lambda: loader.exhaust(data.eval_batches(source, batch_size, **options))


def main():
  args = common.arguments(
    __doc__,
    pictures=(1024, 16, "in the folder"),
    batch=(256, 8, "pictures"),
    repeats=(9, 1, "of each"),
    sizes=((256, 512), (256,), "pixels of the canvas"),
  )
  for size in args.sizes:
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      make(folder, args.pictures)
      opened = open_all(folder, size)
      for how, per in (("one thread", args.batch), ("the loader", args.pictures)):
        runs = [
          fill(s, size, args.batch)
          if how == "one thread"
          else stream(s, size, args.batch)
          for s, _ in opened.values()
        ]
        for run in runs:
          run()
        timed = [functools.partial(common.timed, run, per) for run in runs]
        for name, figures in zip(
          opened, common.medians(args.repeats, *timed), strict=True
        ):
          source, error = opened[name]
          report(size, name, how, figures, kilobytes(source), error)


def report(size, name, how, figures, kilobytes, error):
  figures |= {"cores": figures["cpu_ms"] * WANTED / 1000, "kilobytes": kilobytes}
  line = {"case": f"500 x 375 onto {size}", "of": name, "by": how}
  line |= common.rounded(figures | {"error": error})
  facts = {"device": jax.devices()[0].device_kind, "versions": common.versions()}
  print(json.dumps(line | facts), flush=True)


if __name__ == "__main__":
  main()
