"""A program of ours as its users start it: in a process of its own."""

import os
import pathlib
import subprocess
import sys

import conftest

ROOT = pathlib.Path(__file__).parent.parent
LONGEST = 900  # seconds, on a busy machine; what takes as long hangs
QUICK = {  # as conftest.py has it for tests in their own process
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
  "JAX_COMPILATION_CACHE_DIR": str(conftest.CACHE),
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}


def start(
  *arguments: str, cwd=ROOT, program="run.py", **environment: str
) -> subprocess.Popen:
  """`python PROGRAM ARGUMENTS`, started; its output is read by `communicate`."""
  return subprocess.Popen(
    [sys.executable, str(ROOT / program), *arguments],
    cwd=cwd,
    env=os.environ | QUICK | environment,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(*arguments: str, cwd=ROOT, **options: str) -> tuple[int, str, str]:
  """What `start` starts, to its end -> exit code, output, errors."""
  process = start(*arguments, cwd=cwd, **options)
  try:
    output, errors = process.communicate(timeout=LONGEST)
  finally:
    process.kill()
  return process.returncode, output, errors
