"""Every method on CIFAR-10 at one small, equal budget of CPU time: README's table.

    python benchmarks/methods.py --folder runs/methods
    python benchmarks/methods.py --folder runs/methods --seeds 3 --only simclr,moco_v2

Trains each config's `:cpu` form for the steps below, which cost about as much for each
(ResNet-18 of a quarter of the width, or a ViT of that size), then fits a linear
classifier. A run that is there is not run again, one that was stopped goes on. Needs
CIFAR-10 where TFDS finds it and, for the rows of sound, SPOKEN_DIGIT_DIR: a folder of
recordings.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import common
import jax

from ssljax import data, dispatch, encoder, recipe, sharding
from ssljax.judge import Judge

ROOT = pathlib.Path(__file__).parent.parent
SOUND = "cpc_audio"
STEPS = {  # config -> steps of 128 pictures that cost as much CPU time as the others'
  "instdisc_cifar10": 760,
  "invaspread_cifar10": 390,
  "cpc_image": 390,
  "cmc_cifar10": 390,
  "moco_v1_cifar10": 560,
  "moco_v2_cifar10": 560,
  "simclr_cifar10": 390,
  "simclr_v2_cifar10": 310,
  "supcon_cifar10": 390,
  "swav_cifar10": 390,
  "byol_cifar10": 310,
  "simsiam_cifar10": 400,
  "moco_v3_cifar10": 310,
  "dino_cifar10": 310,
  "mae_cifar10": 930,
  "clip_cifar10": 740,
  "barlow_cifar10": 420,
  "vicreg_cifar10": 420,
  "nnclr_cifar10": 390,
  "dcl_cifar10": 390,
  "tico_cifar10": 390,
  "wmse_cifar10": 390,
  "metric_learning_cifar10": 390,
  "supervised_cifar10": 800,
  SOUND: 390,
}


def run(*flags):
  """`python run.py` with these flags."""
  line = [sys.executable, "run.py", *flags]
  subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def judge(workdir):
  """The random and the trained encoder of a run: {row: {"knn", "linear", ...}}.

  Both see the whole training split, whatever part of it the run did.
  """
  mesh = sharding.make_mesh()
  trained, parts, state, spec = encoder.restore(workdir, mesh)
  with trained.unlocked():
    trained.data.train_split = "" if trained.data.name == "audio" else "train"
  judged = Judge(trained, parts, recipe.open_data(trained, workdir), mesh)
  first = dispatch.compile_init(
    parts.init, data.zeros(spec, trained.batch_size), mesh
  )()
  states = {judged.raw: None, "random encoder": first, "trained encoder": state}
  kept = workdir.parent / "raw.json"  # the same for every run of this input
  raw = json.loads(kept.read_text()) if kept.exists() else {}
  rows = {}
  for row, seen in states.items():
    rows[row] = raw.get(row) or judged.scores(judged.features(seen), "knn", "linear")
  kept.write_text(json.dumps({**raw, judged.raw: rows[judged.raw]}))
  jax.clear_caches()
  return rows


def measure(name, seed, folder):
  """Trains and judges one config, unless that was done -> its figures."""
  workdir = folder / f"{name}_{seed}"
  done = workdir / "figures.json"
  if not done.exists():
    flags = [f"--config.seed={seed}", f"--config.steps={STEPS[name]}"]
    flags.append("--config.evals.every_epochs=0")
    if name == SOUND:
      flags.append(f"--config.data.dir={os.environ['SPOKEN_DIGIT_DIR']}")
    start = common.clock()
    run("--config", f"configs/{name}.py:cpu", "--workdir", str(workdir), *flags)
    cost = common.between(start, common.clock())["cpu_ms"] / 60e3
    figures = {"core_minutes": cost, "results": judge(workdir)}
    done.write_text(json.dumps(figures, indent=2))
  return json.loads(done.read_text())


def spread(values):
  """Mean and, of several, standard deviation."""
  text = f"{statistics.mean(values):.1f}"
  return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.1f}"


def table(measured):
  """Name -> figures of its seeds; as README shows it."""
  lines = [
    "| config | steps | core-minutes | kNN | linear | random: kNN | linear |",
    "|---|---|---|---|---|---|---|",
  ]
  raw = {}
  for name, runs in measured.items():
    cells = [f"`{name}`", str(STEPS[name])]
    cells.append(spread([r["core_minutes"] for r in runs]))
    for row in ("trained encoder", "random encoder"):
      for score in ("knn", "linear"):
        cells.append(spread([r["results"][row][score] for r in runs]))
    lines.append("| " + " | ".join(cells) + " |")
    first, *_ = runs[0]["results"].items()
    raw.update([first])
  for row, scores in raw.items():
    cells = [row, "", "", f"{scores['knn']:.1f}", f"{scores['linear']:.1f}", "", ""]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--folder", type=pathlib.Path, default="runs/methods")
  parser.add_argument("--seeds", type=int, default=1)
  parser.add_argument("--only", default="", help="configs, by commas; default: all")
  args = parser.parse_args()
  names = args.only.split(",") if args.only else list(STEPS)
  folder = args.folder.absolute()
  measured = {}
  for seed in range(args.seeds):
    for name in names:
      measured.setdefault(name, []).append(measure(name, seed, folder))
      print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
  print(table(measured))


if __name__ == "__main__":
  main()
