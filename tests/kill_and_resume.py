"""Kills a run at random moments, starts the same line again, and compares the ends.

    python tests/kill_and_resume.py --kills 5 --config configs/moco_v2_cifar10.py:smoke

Another run of the same line is never touched. The two must agree bit for bit: every
array of the last checkpoint, and every line of metrics.jsonl but for its speed.
"""

import argparse
import json
import pathlib
import random
import sys
import tempfile
import time

import command_line
import jax
import numpy as np
import orbax.checkpoint as ocp


def compare(one: pathlib.Path, other: pathlib.Path) -> None:
  """AssertionError where two runs' folders differ in what they computed."""
  assert metrics(one) == metrics(other)
  a, b = final_state(one), final_state(other)
  assert a.keys() == b.keys()
  assert len(a) > 10
  for path, x in a.items():
    np.testing.assert_array_equal(x, b[path], err_msg=path)


def metrics(folder: pathlib.Path) -> list[dict]:
  """The rows of metrics.jsonl without the one number that may differ."""
  rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
  return [{k: v for k, v in r.items() if k != "images_per_second"} for r in rows]


def final_state(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every array of the newest checkpoint, by its path."""
  steps = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
  path = folder / "checkpoints" / str(max(steps)) / "state"
  with ocp.PyTreeCheckpointer() as checkpointer:
    leaves = checkpointer.metadata(path).item_metadata.tree
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)  # whatever mesh wrote it
    tree = checkpointer.restore(
      path, restore_args=jax.tree.map(lambda _: as_numpy, leaves)
    )
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in flat}


def run_with_kills(
  arguments: list[str], workdir: pathlib.Path, kills: int, rng: random.Random
) -> list[float]:
  """Runs to the end, shot `kills` times on the way -> seconds that each life had."""
  lives, longest = [], 2.0
  while True:
    began = time.monotonic()
    process = command_line.start(*arguments, f"--workdir={workdir}")
    if len(lives) < kills:
      while process.poll() is None and not (workdir / "config.json").exists():
        time.sleep(0.05)
      time.sleep(rng.uniform(0.0, longest))
      process.kill()
    _, errors = process.communicate(timeout=600)
    if process.returncode == 0:
      return lives
    assert process.returncode < 0, errors
    lives.append(time.monotonic() - began)
    longest += 2.0


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=5)
  parser.add_argument("--config", default="configs/moco_v2_cifar10.py:smoke")
  parser.add_argument("--seed", type=int, default=0)
  options, fields = parser.parse_known_args()
  arguments = [f"--config={options.config}", *fields]
  with tempfile.TemporaryDirectory() as folder:
    one, other = pathlib.Path(folder, "killed"), pathlib.Path(folder, "unbroken")
    code, _, errors = command_line.run(*arguments, f"--workdir={other}")
    if code:
      sys.exit(errors)
    rng = random.Random(options.seed)
    lives = run_with_kills(arguments, one, options.kills, rng)
    compare(one, other)
  times = ", ".join(f"{life:.1f}" for life in lives)
  print(f"Killed {len(lives)} times, after {times} s: the same end bit for bit.")


if __name__ == "__main__":
  main()
