"""`run.py` as its users start it: in a process of its own."""

import os
import pathlib
import subprocess
import sys

from conftest import CACHE

ROOT = pathlib.Path(__file__).parent.parent


def start(*arguments: str, cwd=ROOT, **environment: str) -> subprocess.Popen:
  """`python run.py ARGUMENTS`, started; its output is read by `communicate`."""
  quick = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
  }
  return subprocess.Popen(
    [sys.executable, str(ROOT / "run.py"), *arguments],
    cwd=cwd,
    env=os.environ | quick | environment,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(*arguments: str, cwd=ROOT) -> tuple[int, str, str]:
  """The same to its end -> exit code, output, errors."""
  process = start(*arguments, cwd=cwd)
  output, errors = process.communicate(timeout=300)
  return process.returncode, output, errors
