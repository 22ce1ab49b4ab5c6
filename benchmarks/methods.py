"""Every method on CIFAR-10 for a few minutes of CPU time: docs/cifar10_on_a_cpu.md.

    python benchmarks/methods.py --folder runs/methods
    python benchmarks/methods.py --folder runs/methods --only byol_cifar10 --seeds 5

Trains each config's `:cpu` form for the steps below (ResNet-18 of a quarter of the
width, or a ViT of that size; a tenth of the steps warms up), then fits a linear
classifier. They cost about five core-minutes each, and up to ten for the slow starters,
which have three seeds. A run that is there is not run again, one that was
stopped goes on. Needs CIFAR-10 where TFDS finds it and, for the rows of sound,
SPOKEN_DIGIT_DIR: a folder of recordings. `--quick` needs neither: it is one recipe's
`:smoke` form on digits, and shows that all of this runs.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import common
import jax

from ssljax import data, encoder, recipe, sharding
from ssljax.judge import Judge
from ssljax.train import dispatch

ROOT = pathlib.Path(__file__).parent.parent
SOUND = "cpc_audio"
STEPS = {  # config -> steps of its batch
  "instdisc_cifar10": 500,
  "invaspread_cifar10": 240,
  "cpc_image": 300,
  "cmc_cifar10": 560,
  "moco_v1_cifar10": 345,
  "moco_v2_cifar10": 345,
  "simclr_cifar10": 240,
  "simclr_v2_cifar10": 190,
  "supcon_cifar10": 240,
  "swav_cifar10": 240,
  "byol_cifar10": 700,
  "simsiam_cifar10": 900,
  "moco_v3_cifar10": 190,
  "dino_cifar10": 700,
  "mae_cifar10": 570,
  "clip_cifar10": 450,
  "barlow_cifar10": 260,
  "vicreg_cifar10": 260,
  "nnclr_cifar10": 240,
  "dcl_cifar10": 240,
  "tico_cifar10": 240,
  "wmse_cifar10": 240,
  "metric_learning_cifar10": 240,
  "supervised_cifar10": 490,
  "densecl_cifar10": 300,
  "direct_pred_cifar10": 700,
  "ressl_cifar10": 330,
  "simmim_cifar10": 330,
  "data2vec_cifar10": 300,
  "msn_cifar10": 700,
  "vicregl_cifar10": 230,
  "ibot_cifar10": 700,
  "ijepa_cifar10": 180,
  "simdino_cifar10": 450,
  "simdinov2_cifar10": 400,
  "dinov2_cifar10": 700,
  "dinov3_cifar10": 500,
  "lejepa_cifar10": 190,
  SOUND: 1200,
}
SLOW = "cpc_image", "byol_cifar10", "simsiam_cifar10", "dino_cifar10", "tico_cifar10"
THRICE = "moco_v2_cifar10", "simclr_cifar10", "supervised_cifar10", *SLOW
QUICK = "simclr_cifar10"


def run(*flags):
  """`python run.py` with these flags."""
  line = [sys.executable, "run.py", *flags]
  subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def judge(workdir):
  """Raw input, random and trained encoder of a run: {row: {"knn", "linear", ...}}.

  They see the whole training split, whatever part of it the run did. One random
  encoder stands for all methods that share it and its seed.
  """
  mesh = sharding.make_mesh()
  trained, parts, state, spec, *_ = encoder.restore(workdir, mesh)
  with trained.unlocked():
    whole = {"audio": "", "digits": ""}
    trained.data.train_split = whole.get(trained.data.name, "train")
  judged = Judge(trained, parts, recipe.open_data(trained, workdir), mesh)
  blank = data.zeros(spec, trained.batch_size)
  first = dispatch.compile_init(parts.init, blank, mesh)()

  def scores(state):
    return judged.scores(judged.features(state), "knn", "linear")

  encoder_is = trained.encoder, trained.augment.get("mean"), trained.augment.get("std")
  rows = {
    judged.raw: once(workdir.parent / "raw", trained.data.name, scores, None),
    "random encoder": once(
      workdir.parent / "random", f"{trained.seed} {encoder_is}", scores, first
    ),
    "trained encoder": scores(state),
  }
  jax.clear_caches()
  return rows


def once(folder, name, scores, state):
  """`scores(state)`, or what they were in the last run for which they are the same."""
  kept = folder / f"{hashlib.sha1(name.encode()).hexdigest()[:12]}.json"
  if not kept.exists():
    folder.mkdir(exist_ok=True)
    kept.write_text(json.dumps(scores(state)))
  return json.loads(kept.read_text())


def measure(name, seed, folder, form="cpu", steps=None):
  """Trains and judges one config, unless that was done -> its figures."""
  steps = steps or STEPS[name]
  workdir = folder / f"{name}_{seed}"
  done = workdir / "figures.json"
  if not done.exists():
    config = common.config(name, form)
    if name == SOUND:
      config.data.dir = os.environ["SPOKEN_DIGIT_DIR"]
    steps_per_epoch = len(recipe.open_data(config).train) // config.batch_size
    changes = {
      "seed": seed,
      "steps": steps,
      "data.dir": config.data.dir,
      "optimizer.learning_rate.warmup_epochs": steps / 10 / steps_per_epoch,
      "evals.every_epochs": 0,
      "evals.at_end": (),
    }
    flags = [f"--config.{field}={value}" for field, value in changes.items()]
    start = common.clock()
    run("--config", f"configs/{name}.py:{form}", "--workdir", str(workdir), *flags)
    cost = common.between(start, common.clock())["cpu_ms"] / 60e3
    today = datetime.date.today().isoformat()
    figures = {"steps": steps, "core_minutes": cost, "date": today}
    done.write_text(json.dumps(figures | {"results": judge(workdir)}, indent=2))
  figures = json.loads(done.read_text())
  if figures["steps"] != steps:
    sys.exit(f"{workdir} holds {figures['steps']} steps; name another --folder")
  return figures


def spread(values):
  """Mean and, of several, standard deviation."""
  text = f"{statistics.mean(values):.1f}"
  return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.1f}"


def table(measured, form="cpu"):
  """Name -> figures of its seeds; as docs/cifar10_on_a_cpu.md shows it."""
  head = "config", "steps x batch", "core-minutes", "kNN", "linear", "random: kNN"
  head = *head, "linear", "run on"
  lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
  raw = {}
  for name, runs in measured.items():
    batch = common.config(name, form).batch_size
    cells = [f"`{name}`", f"{runs[0]['steps']} x {batch}"]
    cells.append(spread([r["core_minutes"] for r in runs]))
    for row in ("trained encoder", "random encoder"):
      for score in ("knn", "linear"):
        cells.append(spread([r["results"][row][score] for r in runs]))
    cells.append(max(r["date"] for r in runs))
    lines.append("| " + " | ".join(cells) + " |")
    first, *_ = runs[0]["results"].items()
    raw.update([first])
  for row, scores in raw.items():
    cells = [row, "", "", f"{scores['knn']:.1f}", f"{scores['linear']:.1f}", *3 * [""]]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--folder", type=pathlib.Path, default="runs/methods")
  parser.add_argument(
    "--seeds",
    type=int,
    help=f"of each; default: three of {len(THRICE)} methods, one of others",
  )
  parser.add_argument("--quick", action="store_true", help="one, on digits: it runs")
  parser.add_argument("--only", default="", help="configs, by commas; default: all")
  args = parser.parse_args()
  names = args.only.split(",") if args.only else list(STEPS)
  folder = args.folder.absolute()
  if args.quick:
    with tempfile.TemporaryDirectory() as folder:
      figures = measure(QUICK, 0, pathlib.Path(folder), "smoke", steps=4)
    print(table({QUICK: [figures]}, "smoke"))
    return
  seeds = {name: args.seeds or (3 if name in THRICE else 1) for name in names}
  measured = {}
  for seed in range(max(seeds.values())):
    for name in (name for name in names if seed < seeds[name]):
      measured.setdefault(name, []).append(measure(name, seed, folder))
      print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
  print(table(measured))


if __name__ == "__main__":
  main()
