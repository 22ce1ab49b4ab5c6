"""What the benchmarks share: ours timed beside its peers, a line of JSON for each.

Runs alternate, so that other work on the machine meets both alike, and figures are
medians: of wall time, and of CPU time, which other work disturbs less. A ratio is
ours / theirs: below 1 ours is the faster or the smaller.

Each takes `--quick`: everything it does, once and small, in half a minute. Its figures
say that it runs, and nothing about speed.
"""

import argparse
import functools
import importlib
import importlib.metadata
import json
import os
import pathlib
import resource
import statistics
import sys
import time

import jax
import numpy as np

sys.path.append(str(pathlib.Path(__file__).parent.parent))  # where configs/ is
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else PyTorch's idle threads spin

PACKAGES = "jax numpy optax pillow torch torchvision simplejpeg opencv-python-headless"


def arguments(doc, **sizes):
  """Reads the command line of a benchmark whose docstring is `doc`.

  `sizes` are name -> the usual value, that of `--quick`, and what it is; each is a flag
  of its own too, which beats both. Several numbers are a tuple.
  """
  parser = argparse.ArgumentParser(description=doc.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="once and small: it runs")
  for name, (usual, _, meaning) in sizes.items():
    several = isinstance(usual, tuple)
    parser.add_argument(
      f"--{name}",
      type=type(usual[0] if several else usual),
      nargs="+" if several else None,
      help=f"{meaning}; default: {usual}",
    )
  args = parser.parse_args()
  for name, (usual, quick, _) in sizes.items():
    if getattr(args, name) is None:
      setattr(args, name, quick if args.quick else usual)
  # Small programs compile for longer than they run.
  jax.config.update("jax_disable_most_optimizations", args.quick)
  return args


def config(name, variant="", quick=False):
  """A recipe's config in that variant; `quick` is `:smoke` with one block a stage."""
  recipe = importlib.import_module(f"configs.{name}")
  if not quick:
    return recipe.get_config(variant)
  smallest = recipe.get_config("smoke")
  if smallest.encoder.name.startswith("resnet"):
    smallest.encoder.stage_sizes = (1, 1, 1, 1)
  return smallest


def noise(blank, seed=0):
  """A batch like `blank`, zeros shaped as the loader's, of whole pictures of noise."""
  rng, batch = np.random.default_rng(seed), dict(blank)
  if "image" in batch:
    count, *size = batch["image"].shape[:3]
    batch["image"] = rng.integers(0, 256, batch["image"].shape, np.uint8)
    batch["extent"] = np.tile(np.int32(size), (count, 1))
    batch["aspect"] = np.ones(count, np.float32)
  batch["index"] = rng.permutation(len(batch["index"])).astype(np.int32)
  return batch


def peer(name):
  """The module called `name`, or None where it, or what it imports, is missing."""
  try:
    return importlib.import_module(name)
  except (ImportError, RuntimeError):  # RuntimeError: torchvision, of another torch
    return None


def cores():
  return len(os.sched_getaffinity(0))


def clock():
  """Milliseconds on the wall, and of CPU time in this process and its ended workers."""
  workers = resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu = time.process_time() + workers.ru_utime + workers.ru_stime
  return {"wall_ms": 1e3 * time.perf_counter(), "cpu_ms": 1e3 * cpu}


def between(start, end, per=1):
  return {name: (end[name] - start[name]) / per for name in start}


def timed(run, per=1):
  start = clock()
  run()
  return between(start, clock(), per)


def medians(repeats, *measure):
  """Calls each of `measure` in turn, `repeats` times -> the medians of each."""
  rounds = [[m() for m in measure] for _ in range(repeats)]
  return [
    {name: statistics.median(f[name] for f in figures) for name in figures[0]}
    for figures in zip(*rounds, strict=True)
  ]


def compare(case, ours, peers, repeats, per=1, **facts):
  """Times functions without arguments, each once before to compile.

  `peers` are name -> function or, in its place, why there is none. Figures are divided
  by `per`, the number of things that one call does.
  """
  installed = {name: run for name, run in peers.items() if callable(run)}
  runs = ours, *installed.values()
  for run in runs:
    run()
  first, *others = medians(repeats, *(functools.partial(timed, r, per) for r in runs))
  theirs = peers | dict(zip(installed, others, strict=True))
  for name, figures in theirs.items():
    report(case, first, name, figures, repeats=repeats, **facts)


def report(case, ours, name, theirs, **facts):
  """Prints figures of ours beside a peer's; None or a text says that there are none."""
  line = {"case": case, "ours": rounded(ours), "peer": name}
  if isinstance(theirs, dict):
    line["theirs"] = rounded(theirs)
    line["ratio"] = rounded({k: ours[k] / theirs[k] for k in ours})
  else:
    line["skipped"] = theirs or "cannot be imported"
  line |= facts | {
    "device": jax.devices()[0].device_kind,
    "cores": cores(),
    "load_average": round(os.getloadavg()[0], 1),
    "versions": versions(),
  }
  print(json.dumps(line), flush=True)


def rounded(figures):
  return {name: float(f"{value:.4g}") for name, value in figures.items()}


@functools.cache
def versions():
  found = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
  return {name: found[name] for name in PACKAGES.split() if name in found}
