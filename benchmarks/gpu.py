"""What a GPU must show: that all runs on it, how fast, how good, and where time goes.

    python benchmarks/gpu.py --parts runs speed --seconds 500
    python benchmarks/gpu.py --parts quality profile --seconds 500 --folder runs/gpu

`runs`: a recipe of every kind takes four steps in bfloat16, two a dispatch, is judged,
and goes on from its checkpoint; its first loss in float32 stands beside the CPU's.
`speed`: recipes from uint8 pictures on the host's side of the step, views drawn in it,
and from views that are ready, beside PyTorch (torch.compile, bfloat16, channels last)
on the same card in the same run; attention, NT-Xent and views alone. `quality`: kNN
against minutes of a CIFAR-10 recipe, to the end of the time, going on where it stopped.
`profile`: a trace that xprof opens, and the operations that cost most.

Each figure is written to `--folder` when it is there: whatever ends the program leaves
those before. What fails is written down with its error and the rest goes on, and what
no time is left for is said. Figures to keep go into benchmarks/results/.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
import traceback

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves PyTorch some

import common
import gpu_speed
import jax

import ssljax

ROOT = pathlib.Path(__file__).parent.parent
KINDS = {  # what is tried -> a recipe of it
  "convolutions": "simclr_cifar10",
  "transformer": "moco_v3_imagenet_vit",
  "several crops": "dino_imagenet",
  "queue": "moco_v2_cifar10",
  "bank": "instdisc_cifar10",
  "Sinkhorn": "swav_cifar10",
  "masked": "mae_cifar10",
  "masked and taught": "ibot_cifar10",
  "text": "clip_cifar10",
}
SLOWEST = "DINO ViT-S/16"  # in the profile, where no other was found slower
RESERVE = 20  # seconds in which a case is not begun


class Record:
  """The figures so far, in a file of JSON that is whole after each of them."""

  def __init__(self, folder, seconds):
    device = jax.devices()[0].device_kind
    self.facts = {
      "device": device,
      "devices": jax.device_count(),
      "date": datetime.datetime.now().isoformat(timespec="seconds"),
      "versions": common.versions(),
      "python": sys.version.split()[0],
    }
    self.lines = []
    self.end = time.time() + seconds
    stamp = self.facts["date"].replace(":", "").replace("-", "")
    self.path = folder / f"gpu_{device.replace(' ', '_')}_{stamp}.json"
    folder.mkdir(parents=True, exist_ok=True)

  @property
  def left(self):
    """The seconds that are left."""
    return self.end - time.time()

  def note(self, **line):
    """Prints a line, and writes all of them."""
    self.lines.append(line)
    print(json.dumps(line), flush=True)
    told = json.dumps({**self.facts, "figures": self.lines}, indent=1)
    half = self.path.with_suffix(".half")
    half.write_text(told)
    half.replace(self.path)

  def attempt(self, part, case, function, *arguments):
    """Notes what `function` returns, or why it did not -> it, or None."""
    if self.left < RESERVE:
      self.note(part=part, case=case, skipped="no time left")
      return None
    start = time.time()
    try:
      figures = function(*arguments)
    except Exception as error:  # whatever it is: the rest is worth as much
      frames = traceback.extract_tb(error.__traceback__)
      where = [f for f in frames if str(ROOT) in f.filename] or frames
      file = pathlib.Path(where[-1].filename).name
      text = f"{type(error).__name__}: {str(error)[:600]}"
      self.note(part=part, case=case, error=text, at=f"{file}:{where[-1].lineno}")
      return None
    self.note(part=part, case=case, **figures, took_s=round(time.time() - start, 1))
    return figures


# --- runs ---------------------------------------------------------------------


def runs(record, folder, quick):
  """Tries a recipe of every kind; then what the loss is beside the CPU's."""
  for kind, name in list(KINDS.items())[: 1 if quick else None]:
    workdir = folder / "runs" / name
    record.attempt("runs", f"{kind}: {name}", it_runs, name, workdir, quick)


def it_runs(name, workdir, quick):
  """Trains, judges, goes on from the checkpoint -> kNN, and first losses."""
  config = gpu_speed.configured(name, small=True)
  config.steps_per_dispatch = 1 if jax.default_backend() == "cpu" else 2
  config.evals.update(every_epochs=0, at_end=("knn",))
  for steps in (2,) if quick else (4, 6):
    config.steps = steps
    scores = ssljax.train_and_evaluate(config, workdir)
  loss, on_host = first_loss(config), first_loss(config, jax.devices("cpu")[0])
  trained = {f"{k}_trained": v for k, v in scores["trained encoder"].items()}
  return {**trained, "loss": loss, "loss_on_the_host": on_host}


def first_loss(config, device=None):
  """The loss of the first step in float32, on a device."""
  config = config.copy_and_resolve_references()
  config.dtype = "float32"
  with jax.default_device(device):
    parts, batches = gpu_speed.prepared(config, 1)
    state = jax.jit(parts.init)(batches[0])
    _, metrics = jax.jit(parts.step)(state, batches[0])
    return float(metrics["loss"])


# --- quality ------------------------------------------------------------------


def quality(record, folder, name, seconds, quick):
  """Trains until the time is over, from where an earlier call stopped."""
  record.attempt("quality", name, trained, name, folder / name, seconds, quick)


def trained(name, workdir, seconds, quick):
  """Runs `python run.py` for so long -> kNN against minutes of training."""
  line = [sys.executable, "run.py", "--workdir", str(workdir.absolute())]
  line += ["--config", f"configs/{name}.py" + ":smoke" * quick]
  line += ["--config.dtype=bfloat16", "--config.checkpoint.keep=1"]
  line += ["--config.steps=2"] * quick
  start = time.time()
  env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
  quiet, errors = subprocess.DEVNULL, subprocess.PIPE
  process = subprocess.Popen(
    line, cwd=ROOT, env=env, stdout=quiet, stderr=errors, text=True
  )
  try:
    _, said = process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGTERM)  # it saves, and the same line continues
    _, said = process.communicate(timeout=120)
  if not (workdir / "metrics.jsonl").exists():
    raise RuntimeError(said[-500:])
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  curve = [[row["step"], row["knn"]] for row in rows if "knn" in row]
  speeds = [row["images_per_second"] for row in rows if "images_per_second" in row]
  figures = {
    "exit": process.returncode,
    "step": max((row["step"] for row in rows), default=0),
    "minutes_of_this_call": round((time.time() - start) / 60, 2),
    "knn_by_step": curve,
  }
  if speeds:
    figures["pictures_per_second"] = round(statistics.median(speeds), 1)
  return figures


# --- profile ------------------------------------------------------------------


def profile(record, folder, case, quick):
  """Traces three steps of a recipe."""
  record.attempt("profile", case, traced, folder / "profile", case, quick)


def traced(folder, case, quick):
  """Writes a trace -> the operations of the device that cost most, in ms a step."""
  name, batch, fields, *_ = gpu_speed.SPEED[case]
  parts, batches = gpu_speed.prepared(
    gpu_speed.configured(name, batch, fields, small=quick), 1
  )
  steps, _ = gpu_speed.compiled(parts, batches)
  steps(3)
  with jax.profiler.trace(folder):
    steps(3)
  newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
  costs = {}
  for plane in jax.profiler.ProfileData.from_file(str(newest)).planes:
    if "/device:GPU" not in plane.name and "/device:TPU" not in plane.name:
      continue
    for row in plane.lines:
      for event in row.events:
        costs[event.name] = costs.get(event.name, 0) + event.duration_ns / 3e6
  costly = sorted(costs.items(), key=lambda item: -item[1])[:10]
  return {
    "operations_ms": {name[:120]: round(ms, 3) for name, ms in costly},
    "trace": newest.name,
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parts = "runs", "speed", "quality", "profile"
  parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
  parser.add_argument("--seconds", type=float, default=500, help="for all of it")
  parser.add_argument("--each", type=float, default=8, help="seconds a recipe's speed")
  parser.add_argument("--recipe", default="simclr_cifar10_90", help="of `quality`")
  parser.add_argument("--folder", type=pathlib.Path, default="runs/gpu")
  parser.add_argument("--quick", action="store_true", help="once and small: it runs")
  args = parser.parse_args()
  folder = args.folder.absolute()
  record = Record(folder, args.seconds)
  cache = folder / "compiled"
  jax.config.update("jax_compilation_cache_dir", str(cache))
  slowest = SLOWEST
  if args.quick:
    slowest, *_ = gpu_speed.SPEED
    jax.config.update("jax_disable_most_optimizations", True)
  if "runs" in args.parts:
    runs(record, folder, args.quick)
  if "speed" in args.parts:
    slowest = (
      gpu_speed.measure(record, args.quick, 1 if args.quick else args.each) or slowest
    )
  if "quality" in args.parts:
    kept = 45 if "profile" in args.parts else 0
    quality(record, folder, args.recipe, record.left - kept - 30, args.quick)
  if "profile" in args.parts:
    profile(record, folder, slowest, args.quick)


if __name__ == "__main__":
  main()
