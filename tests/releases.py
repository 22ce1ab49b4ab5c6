"""Names and shapes of released weights, from tests/weights/releases/, a file a release.

A line is a name and its shape; `{0-11}` stands for twelve names. `@release prefix` has
all of that release's below a prefix, but for its classifier. `=` before a number has it
narrowed though it is small, as it is a share of the width.
"""

import pathlib
import re

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "weights" / "releases"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
BLOCK = re.compile(r"(?:blocks|layers?)\.(\d+)\.")  # of a transformer
RANGE = re.compile(r"\{(\d+)-(\d+)\}")


def shapes(release, deepest=10**9):
  """Name -> shape; of numbers in a range those up to `deepest` alone."""
  found = {}
  for line in (FOLDER / f"{release}.txt").read_text().splitlines():
    name, shape = line.split()
    if name.startswith("@"):
      other = shapes(name[1:], deepest).items()
      found |= {shape + k: s for k, s in other if not k.startswith("fc.")}
      continue
    shape = tuple(map(_number, shape.split(","))) if shape != "-" else ()
    if match := RANGE.search(name):
      first, last = int(match[1]), int(match[2])
      for number in range(first, max(first, min(last, deepest)) + 1):
        found[RANGE.sub(str(number), name)] = shape
    else:
      found[name] = shape
  return found


class Share(int):
  """A number that is narrowed, whatever it is."""


def _number(text):
  return Share(text[1:]) if text.startswith("=") else int(text)


def arrays(release, seed=0):
  """A state dict of the release, narrow, and as shallow as a transformer may be."""
  full = shapes(release)
  is_vit = any(len(s) == 4 and s[-1] > 7 for s in full.values())
  if is_vit:
    full = {k: s for k, s in full.items() if int((BLOCK.findall(k) or [0])[0]) < 2}
  rng = np.random.default_rng(seed)
  return {k: _random(rng, k, _narrow(s, 16 if is_vit else 8)) for k, s in full.items()}


def _narrow(shape, factor):
  is_wide = lambda n: n > 32 or isinstance(n, Share)  # noqa: E731
  return tuple(n // factor if is_wide(n) and n % factor == 0 else n for n in shape)


def _random(rng, name, shape):
  if name.endswith("num_batches_tracked"):
    return np.int64(rng.integers(1, 1000))
  x = np.asarray(rng.normal(size=shape), np.float32)
  return np.abs(x) + np.float32(0.5) if name.endswith("running_var") else 0.1 * x
