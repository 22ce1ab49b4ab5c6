"""Runs killed at random moments, and an hour of small steps: what grows, what is lost.

    python benchmarks/soak.py

For each kind of state beside the network (none, an average, a queue, a bank, a centre)
a run is killed again and again at random, goes on, and must end bit for bit as the run
that nobody touched. Then small steps for `--minutes`, streamed, with a checkpoint every
hundred: memory, threads and open files of the process, which must not grow. `--quick`
is one kill of one run and a few seconds: it runs. `--kills 0`: the small steps alone.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import common
import psutil

ROOT = pathlib.Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))

import kill_and_resume

TARGETS = {  # what the state has beside the network -> a recipe
  "none": "simclr_cifar10",
  "average": "byol_cifar10",
  "queue": "moco_v2_cifar10",
  "bank": "instdisc_cifar10",
  "centre": "dino_cifar10",
}
EVERY = 5.0  # seconds between two looks at the process
LONGEST = 900  # seconds that a run takes to end, on a busy machine
GROWTH = {"MiB": 32, "threads": 4, "files": 8}  # that is still flat


def killed(target, kills, steps):
  """Kills a run, compares its end with the untouched one's -> a line."""
  name = f"configs/{TARGETS[target]}.py:smoke"
  with tempfile.TemporaryDirectory() as folder:
    at = kill_and_resume.kill_and_compare(pathlib.Path(folder), name, steps, kills)
  return {"target": target, "steps": steps, "killed_at": at, "equal": True}


def look(process):
  """What a process holds now."""
  return {
    "MiB": process.memory_info().rss / 2**20,
    "threads": process.num_threads(),
    "files": process.num_fds(),
  }


def settled(looks, name):
  """The median; of what a checkpoint on its way needs a dozen of, the least."""
  found = [look[name] for look in looks]
  return round(statistics.median(found) if name == "MiB" else min(found), 1)


def soak(seconds):
  """A run of small steps -> what it held in its second tenth and in its last."""
  with tempfile.TemporaryDirectory() as folder:
    flags = {
      "steps": 10_000_000,
      "checkpoint.every_steps": 100,
      "data.in_memory": False,
      "evals.every_epochs": 0,
      "evals.at_end": "",
    }
    line = [f"--config.{field}={value}" for field, value in flags.items()]
    line = ["run.py", "--config", "configs/moco_v2_cifar10.py:smoke", *line]
    run = subprocess.Popen(
      [sys.executable, *line, "--workdir", folder], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    process, looks = psutil.Process(run.pid), []
    while not kill_and_resume.last_step(pathlib.Path(folder)):
      time.sleep(0.5)
      assert run.poll() is None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      time.sleep(min(EVERY, seconds / 20))
      looks.append(look(process))
    steps = kill_and_resume.last_step(pathlib.Path(folder))
    run.terminate()
    run.wait(LONGEST)
  tenth = len(looks) // 10 or 1
  early, late = looks[tenth : 2 * tenth], looks[-tenth:]
  ends = {name: [settled(early, name), settled(late, name)] for name in GROWTH}
  flat = all(b - a <= GROWTH[name] for name, (a, b) in ends.items())
  return {"steps": steps, "seconds": seconds, **ends, "flat": flat}


def main():
  args = common.arguments(
    __doc__,
    kills=(20, 1, "of each run"),
    steps=(200, 12, "of each run that is killed"),
    minutes=(60.0, 0.1, "of small steps"),
  )
  targets = list(TARGETS)[: 1 if args.quick else None] if args.kills else ()
  for target in targets:
    print(json.dumps(killed(target, args.kills, args.steps)), flush=True)
  told = soak(60 * args.minutes)
  print(json.dumps(told))
  if not told["flat"] and not args.quick:
    sys.exit("it grows")


if __name__ == "__main__":
  main()
