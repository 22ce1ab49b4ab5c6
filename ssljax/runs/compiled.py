"""Programs that XLA compiled, kept on disk for the runs to come."""

import os
import pathlib
import tempfile

import jax

from ssljax.fields import stores

MOST = 4 * 2**30  # bytes in the folder; beyond, those go that were not read for longest
LEAST_SECONDS = 0.1  # of compiling, from which a program is kept; JAX's own: 1


def keep() -> str:
  """Has JAX keep what it compiles in the user's cache folder -> why not, or "".

  JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=0 keeps
  nothing. A program's key holds the versions, the flags and the device, of a CPU its
  instruction sets too, so that machines may share a home, and processes a folder.
  """
  if (
    jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache
  ):
    return ""
  try:
    folder = stores.cache() / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(bytes(2**20))  # a full disk takes the file, and not its bytes
    _prune(folder)
  except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
    reason = getattr(error, "strerror", None) or error
    return f"Compiled programs are not kept for the next run: {reason}."
  jax.config.update("jax_compilation_cache_dir", str(folder))
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
  return ""


def _prune(folder: pathlib.Path) -> None:
  """Removes files, those first that were not read for longest, down to MOST bytes."""
  stats = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
  excess = sum(stat.st_size for _, stat in stats) - MOST
  for path, stat in sorted(stats, key=lambda pair: pair[1].st_atime):
    if excess <= 0:
      break
    path.unlink(missing_ok=True)
    excess -= stat.st_size
