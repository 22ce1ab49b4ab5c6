"""What keeps it from collapsing: the curves of docs/collapse.md.

    python benchmarks/collapse.py --folder runs/collapse

Trains each recipe's `:cpu` form and those without the part that keeps it from
collapsing, a ResNet of three blocks on a fifth of CIFAR-10 at 16 pixels, and draws the
metrics that the runs wrote themselves. A run that is there is not run again, one
that was stopped goes on. `--quick` is a few steps of SimSiam on digits: it runs.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import matplotlib
from matplotlib.figure import Figure

ROOT = pathlib.Path(__file__).parent.parent
sys.path.append(str(ROOT))

from ssljax import diagnostics
from ssljax.figures.style import STYLE

STORIES = {  # recipe -> what it is without
  "byol_cifar10": ("no_bn",),
  "simsiam_cifar10": ("no_stop_gradient", "no_predictor"),
  "dino_cifar10": ("no_centre", "no_sharpening"),
}
QUICK_STORY = {"simsiam_cifar10": ("no_stop_gradient",)}
SHARED = {
  "loss": "Loss",
  "embedding_std": "Spread of embeddings",
  "effective_rank": "Effective rank",
}
TEACHER = {  # of those that have one with prototypes
  "teacher_entropy": "Teacher's entropy, of log K",
  "teacher_student_kl": "KL(teacher | student), nats",
  "teacher_information": "Teacher's information, of log K",
}
BUDGET = {
  "steps": 150,
  "log_every": 2,
  "batch_size": 64,
  "augment.size": 16,
  "encoder.stage_sizes": "(1,1,1)",
  "data.train_split": "train[:20%]",
  "data.eval_split": "test[:20%]",
  "optimizer.learning_rate.warmup_epochs": 0.1,
  "evals.every_epochs": 0,
}
BARE = {  # DINO's `:cpu` form without what else keeps it from collapsing
  "augment.crop_min": 0.2,
  "method.tau": 0.98,
  "method.projector.last_norm": "none",
  "optimizer.learning_rate.base": 2e-3,
  "optimizer.freeze_until": "{'^prototypes/':0.0}",
}
QUICK = BUDGET | {  # as `:smoke` has it
  "steps": 12,
  "batch_size": 32,
  "data.name": "digits",
  "data.size": 16,
  "data.train_split": "",
  "data.eval_split": "",
  "encoder.width": 4,
  "encoder.stage_sizes": "(1,)",
  "evals.at_end": (),
}


def train(name, variant, folder, quick):
  """Trains one form, unless that was done -> rows of its metrics, its results."""
  workdir = folder / f"{name}_{variant or 'whole'}"
  if not (workdir / "done").exists():
    form = f"cpu_{variant}" if variant else "cpu"
    changes = QUICK if quick else BUDGET
    if name == "dino_cifar10":
      sharp = {} if variant == "no_sharpening" else {"method.teacher_temperature": 0.04}
      changes = changes | BARE | sharp
    flags = [f"--config.{field}={value}" for field, value in changes.items()]
    line = ["run.py", "--config", f"configs/{name}.py:{form}", *flags]
    line = [sys.executable, *line, "--workdir", str(workdir)]
    subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (workdir / "done").touch()
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  results = workdir / "results.json"
  judged = json.loads(results.read_text()) if results.exists() else {}
  return [json.loads(line) for line in lines], judged


@matplotlib.rc_context(STYLE)
def draw(stories, path):
  """{recipe: {variant: rows of metrics}} -> a PNG, a row of panels a recipe."""
  panels = [
    (name, metric, title)
    for name, runs in stories.items()
    for metric, title in (SHARED | TEACHER).items()
    if any(metric in row for row in runs[""])
  ]
  wide = len(SHARED)
  fig = Figure(figsize=(4 * wide, 2.6 * len(panels) / wide), dpi=72)
  axes = fig.subplots(len(panels) // wide, wide, squeeze=False).ravel()
  for ax, (name, metric, title) in zip(axes, panels, strict=True):
    for number, (variant, rows) in enumerate(stories[name].items()):
      points = [(row["step"], row[metric]) for row in rows if metric in row]
      label, colour = variant or "whole", "0.5" if not variant else f"C{number - 1}"
      ax.plot(*zip(*points, strict=True), label=label, color=colour)
    ax.set(title=f"{name.split('_')[0]}: {title}", xlim=(0, None))
    if metric == "loss":
      ax.legend()
  fig.savefig(path)


def verdict(rows):
  """The first step whose numbers are called a collapse, and the sentence."""
  sentences = ((row["step"], diagnostics.collapse(row)) for row in rows)
  return next(((step, said) for step, said in sentences if said), ("-", "-"))


def table(stories, results):
  """As docs/collapse.md shows it: where each run ended."""
  metrics = *SHARED, *TEACHER
  lines = ["| run | kNN | " + " | ".join(metrics) + " | called a collapse |"]
  lines.append("|---" * (len(metrics) + 3) + "|")
  for name, runs in stories.items():
    for variant, rows in runs.items():
      last = [row for row in rows if "loss" in row][-1]
      judged = results[name, variant].get("trained encoder", {})
      cells = [f"`{name}:cpu_{variant}`" if variant else f"`{name}:cpu`"]
      cells.append(f"{judged['knn']:.1f}" if judged else "")
      cells += [f"{last[m]:.3f}" if m in last else "" for m in metrics]
      step, said = verdict(rows)
      cells.append(f"step {step}: {said}" if said != "-" else "never")
      lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--folder", type=pathlib.Path, default="runs/collapse")
  parser.add_argument("--quick", action="store_true", help="a few steps on digits")
  args = parser.parse_args()
  folder = args.folder.absolute() / ("quick" if args.quick else "")
  folder.mkdir(parents=True, exist_ok=True)
  stories, results = {}, {}
  for name, without in (QUICK_STORY if args.quick else STORIES).items():
    for variant in ("", *without):
      rows, results[name, variant] = train(name, variant, folder, args.quick)
      stories.setdefault(name, {})[variant] = rows
      print(f"{name}:{variant or 'cpu'} done", file=sys.stderr, flush=True)
  draw(stories, folder / "collapse.png")
  print(table(stories, results))


if __name__ == "__main__":
  main()
