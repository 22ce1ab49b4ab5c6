"""From the shell to the first step of `python run.py`: compiling all of it, and again.

    python benchmarks/start.py

Cold, nothing is compiled; warm, a run before it left its programs in the folder that
JAX keeps them in. What remains is imports, data, tracing and lowering.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import common

RUN = pathlib.Path(__file__).parent.parent / "run.py"


def first_step(name, cache, workdir):
  """Runs a config's first step and no more, in a process -> wall and CPU time to it."""
  line = f"--config={name}", "--config.steps=1", "--config.evals.at_end=,"
  options = f"--workdir={workdir}", "--config.data.in_memory=True"
  environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  start = common.clock()
  process = subprocess.Popen(
    [sys.executable, str(RUN), *line, *options],
    env=environment,
    stdout=subprocess.PIPE,
    text=True,
  )
  for said in process.stdout:
    if said.startswith("The first step"):
      seconds = common.clock()["wall_ms"] - start["wall_ms"]
      ticks = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")")[-1]
      used = sum(map(int, ticks.split()[11:13])) / os.sysconf("SC_CLK_TCK")
      figures = {"wall_ms": seconds, "cpu_ms": 1e3 * used}
  process.communicate()
  if process.returncode:
    sys.exit(process.returncode)
  return figures


def main():
  args = common.arguments(
    __doc__,
    config=("simclr_digits", "simclr_digits:smoke", "in configs/"),
    repeats=(3, 1, "of each"),
  )
  rounds = []
  for _ in range(args.repeats):
    with tempfile.TemporaryDirectory() as folder:
      cache = pathlib.Path(folder) / "cache"
      rounds.append([first_step(args.config, cache, f"{folder}/{i}") for i in range(2)])
  cold, warm = (
    {name: sorted(f[name] for f in figures)[len(figures) // 2] for name in figures[0]}
    for figures in zip(*rounds, strict=True)
  )
  case = f"first step, {args.config}"
  common.report(case, warm, "nothing compiled before", cold, repeats=args.repeats)


if __name__ == "__main__":
  main()
