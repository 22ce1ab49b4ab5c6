"""Eight virtual CPU devices, strict types and ranks; several files on all cores.

`pytest` alone takes as many processes as there are cores and memory for; `pytest
tests/x.py`, `-n0` and `--pdb` take one. XLA_FLAGS of the caller hold everywhere.
What is marked slow is left out unless `-m slow`, `-m ""` or its file asks for it.
"""

import gc
import os
import pathlib
import signal
from importlib import metadata

DEVICES = "--xla_force_host_platform_device_count"
# Programs here compile for longer than they run, and these make that three times
# shorter. XLA ends a process at a flag it does not know: they are this version's.
QUICK = (
  "--xla_cpu_use_fusion_emitters=false",
  "--xla_cpu_parallel_codegen_split_count=1",
)
if not metadata.version("jaxlib").startswith("0.10."):
  QUICK = ()
CALLERS = tuple(
  flag
  for flag in os.environ.get("XLA_FLAGS", "").split()
  if flag not in QUICK and not flag.startswith(DEVICES)
)


def xla_flags(devices: int) -> str:
  """XLA_FLAGS of a process that has so many virtual devices."""
  return " ".join((*QUICK, *CALLERS, f"{DEVICES}={devices}"))


os.environ["XLA_FLAGS"] = xla_flags(8)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

# What a shell starts in the background ignores Ctrl-C, and so would all runs here.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jax
import joblib
import orbax.checkpoint as ocp
import psutil
import pytest

CACHE = pathlib.Path(__file__).parent.parent / ".cache" / "jax"

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_traceback_in_locations_limit", 0)  # no one reads these
gc.freeze()
gc.set_threshold(200_000, 20, 100)  # tracing makes millions of objects that stay
jax.config.update("jax_compilation_cache_dir", str(CACHE))
# The small programs too: the processes that tests start compile a hundred of them.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

# Eight devices of one process: cutting small arrays in eight to save takes longer.
WHOLE = ocp.type_handlers.ArrayHandler(use_replica_parallel=False)
ocp.type_handlers.register_type_handler(jax.Array, WHOLE, override=True)

MEMORY = 3 * 2**30  # bytes that a worker and the processes it starts take at most
MOST_WORKERS = 16  # the longest files take as long whatever the number
LONGEST = (  # first, or a core waits for one of them at the end
  "test_notebooks",
  "test_configs",
  "test_contract",
  "test_benchmarks",
  "test_resume",
  "test_processes",
  "test_ten_pictures",
  "test_transfer",
)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
  """Asks xdist for workers, unless the command line says how, or names one file."""
  option = config.option
  files = {argument.partition("::")[0] for argument in config.args}
  one_file = len(files) == 1 and files.pop().endswith(".py")
  if one_file and option.markexpr == "not slow":
    option.markexpr = ""
  alone = one_file or option.usepdb or option.trace or option.collectonly
  in_worker = hasattr(config, "workerinput")
  if alone or in_worker or getattr(option, "numprocesses", 0) is not None:
    return
  room = psutil.virtual_memory().available // MEMORY
  option.numprocesses = max(1, min(joblib.cpu_count(), room, MOST_WORKERS))
  option.dist, option.loadscopereorder = "loadfile", False


def pytest_collection_modifyitems(items):
  """Puts the longest files first."""
  place = {name: number for number, name in enumerate(LONGEST)}
  items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(params=[None, 3], ids=["one_array", "tiles_of_3"])
def both_forms(request, monkeypatch):
  """Runs a test twice: losses score all pairs at once, and three columns at a time."""
  from ssljax.losses import pairwise

  if request.param:
    monkeypatch.setattr(pairwise, "columns_at_once", lambda n, m: request.param)
  return request.param
