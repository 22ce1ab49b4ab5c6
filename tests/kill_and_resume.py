"""Kills a run at random moments, starts the same line again, and compares the ends.

    python tests/kill_and_resume.py --kills 5 --config configs/moco_v2_cifar10.py:smoke

The other run of the line is never touched. The two must agree bit for bit: every
array of the last checkpoint, and every line of metrics.jsonl but for its speed.
"""

import argparse
import json
import pathlib
import random
import tempfile
import time

import command_line
import jax
import numpy as np
import orbax.checkpoint as ocp

from ssljax import paths
from ssljax.runs import writer


def compare(one: pathlib.Path, other: pathlib.Path) -> None:
  """AssertionError where two runs' folders differ in what they computed."""
  assert metrics(one) == metrics(other)
  a, b = state(one), state(other)
  assert a.keys() == b.keys()
  assert len(a) > 10
  for path, x in a.items():
    np.testing.assert_array_equal(x, b[path], err_msg=path)


def metrics(folder: pathlib.Path) -> list[dict]:
  """The rows of metrics.jsonl without the one number of a CPU that may differ."""
  rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
  return [{k: v for k, v in r.items() if k != "images_per_second"} for r in rows]


def state(folder: pathlib.Path, step: int | None = None) -> dict[str, np.ndarray]:
  """Every array of the checkpoint at `step`, or of the newest, by its path."""
  steps = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
  path = folder / "checkpoints" / str(max(steps) if step is None else step) / "state"
  with ocp.PyTreeCheckpointer() as checkpointer:
    leaves = checkpointer.metadata(path).item_metadata.tree
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)  # whatever mesh wrote it
    tree = checkpointer.restore(
      path, restore_args=jax.tree.map(lambda _: as_numpy, leaves)
    )
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {paths.name(path): np.asarray(x) for path, x in flat}


def run_with_kills(
  arguments: list[str], workdir: pathlib.Path, steps: int, kills: int
) -> list[int]:
  """Runs to the end, killed `kills` times -> the last step logged at each kill.

  The moments are random: some steps after the last one, and up to 0.3 s later, in the
  midst of a step, a line or a checkpoint.
  """
  killed_at = []
  for target in sorted(random.randrange(steps) for _ in range(kills)):
    process = command_line.start(*arguments, f"--workdir={workdir}")
    process.stdout.readline()  # what is about to run
    while process.poll() is None and last_step(workdir) < target:
      time.sleep(0.01)
    time.sleep(random.uniform(0.0, 0.3))
    process.kill()
    _, errors = process.communicate()
    assert process.returncode <= 0, errors
    killed_at.append(last_step(workdir))
  code, _, errors = command_line.run(*arguments, f"--workdir={workdir}")
  assert code == 0, errors
  return killed_at


def last_step(workdir: pathlib.Path) -> int:
  """The newest step in metrics.jsonl; 0 before the first."""
  return max((row["step"] for row in writer.read(workdir)), default=0)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=5)
  parser.add_argument("--config", default="configs/moco_v2_cifar10.py:smoke")
  parser.add_argument("--steps", type=int, default=60)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    killed_at = kill_and_compare(
      pathlib.Path(folder), options.config, options.steps, options.kills
    )
  print(f"Killed at steps {killed_at} of {options.steps}: the same end bit for bit.")


def kill_and_compare(
  folder: pathlib.Path, config: str, steps: int, kills: int
) -> list[int]:
  """AssertionError unless a killed run ends as an unbroken one -> the kills' steps."""
  line = [f"--config={config}", f"--config.steps={steps}"]
  killed, unbroken = folder / "killed", folder / "unbroken"
  killed_at = run_with_kills(line, killed, steps, kills)
  code, _, errors = command_line.run(*line, f"--workdir={unbroken}")
  assert code == 0, errors
  compare(killed, unbroken)
  return killed_at


if __name__ == "__main__":
  main()
