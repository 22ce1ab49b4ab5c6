"""Eight virtual CPU devices, strict types and ranks, warnings are errors."""

import os
import pathlib

os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import orbax.checkpoint as ocp

CACHE = pathlib.Path(__file__).parent.parent / ".cache" / "jax"

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs here compile for longer than they run; those of the notebooks are optimised.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

# Eight devices of one process: cutting small arrays in eight to save takes longer.
WHOLE = ocp.type_handlers.ArrayHandler(use_replica_parallel=False)
ocp.type_handlers.register_type_handler(jax.Array, WHOLE, override=True)
