"""What a GPU must show: that all runs on it, how fast, how good, and where time goes.

    python benchmarks/gpu.py --parts runs speed --seconds 500
    python benchmarks/gpu.py --parts quality profile --seconds 500 --folder runs/gpu

`runs`: a recipe of every kind takes four steps in bfloat16, two a dispatch, is judged,
and goes on from its checkpoint; its first loss in float32 stands beside the CPU's. Each
is a process of its own, several at once.
`speed`: recipes from uint8 pictures on the host's side of the step, views drawn in it,
and from views that are ready, beside PyTorch (torch.compile, bfloat16, channels last)
on the same card in turn; attention, NT-Xent and views alone. `profile`: traces of these
recipes that xprof opens, and the operations that cost most. `quality`: kNN against
minutes of a CIFAR-10 recipe, to the end of the time, going on where it stopped.

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
import threading
import time
import traceback

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves PyTorch some

import common
import gpu_runs
import gpu_speed
import jax

ROOT = pathlib.Path(__file__).parent.parent
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
    self.lines, self.lock = [], threading.Lock()
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
    with self.lock:
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


# --- quality ------------------------------------------------------------------


def trained(name, workdir, fields, seconds, quick):
  """Runs `python run.py` for so long -> kNN against minutes of training.

  It goes on from where an earlier call was stopped.
  """
  line = [sys.executable, "run.py", "--workdir", str(workdir.absolute())]
  line += ["--config", f"configs/{name}.py" + ":smoke" * quick]
  line += ["--config.dtype=bfloat16", "--config.checkpoint.keep=1"]
  line += ["--config.steps=2"] * quick + [f"--config.{field}" for field in fields]
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


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parts = "runs", "speed", "profile", "quality"
  parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
  parser.add_argument("--seconds", type=float, default=500, help="for all of it")
  parser.add_argument("--each", type=float, default=8, help="seconds a recipe's speed")
  known = list(gpu_speed.SPEED)
  parser.add_argument("--cases", nargs="+", choices=known, help="of `speed`, `profile`")
  parser.add_argument("--recipe", default="simclr_cifar10_90", help="of `quality`")
  parser.add_argument("--fields", nargs="*", default=[], help="of it: epochs=100")
  parser.add_argument("--folder", type=pathlib.Path, default="runs/gpu")
  parser.add_argument("--quick", action="store_true", help="once and small: it runs")
  args = parser.parse_args()
  folder = args.folder.absolute()
  record = Record(folder, args.seconds)
  keep_compiled(folder / "compiled", args.quick)
  if "runs" in args.parts:
    gpu_runs.runs(record, folder, args.quick)
  if {"speed", "profile"} & set(args.parts):
    each = 1 if args.quick else args.each
    cases = args.cases or list(gpu_speed.SPEED)[: 1 if args.quick else None]
    gpu_speed.measure(record, folder, args.parts, cases, args.quick, each)
  if "quality" in args.parts:
    told = folder / args.recipe, args.fields, record.left - 30, args.quick
    record.attempt("quality", args.recipe, trained, args.recipe, *told)


def keep_compiled(folder, quick):
  """Keeps compiled programs in a folder, of this process and those that it starts."""
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
  jax.config.update("jax_compilation_cache_dir", str(folder))
  if quick:  # small programs compile for longer than they run
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    jax.config.update("jax_disable_most_optimizations", True)


if __name__ == "__main__":
  main()
