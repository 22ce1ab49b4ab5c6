"""Self-supervised and contrastive representation learning in JAX and Flax."""

import importlib
import typing

if typing.TYPE_CHECKING:
  from ssljax.core import Aux, Method, TrainState, train_step
  from ssljax.encoder import load_encoder
  from ssljax.fields import ConfigError
  from ssljax.protocols.evaluate import evaluate
  from ssljax.runs import RunError, TrainingDivergedError
  from ssljax.train import train_and_evaluate

__all__ = [
  "Aux",
  "ConfigError",
  "Method",
  "RunError",
  "TrainState",
  "TrainingDivergedError",
  "evaluate",
  "load_encoder",
  "train_and_evaluate",
  "train_step",
]
DEFINED_IN = {
  "core": ("Aux", "Method", "TrainState", "train_step"),
  "encoder": ("load_encoder",),
  "fields": ("ConfigError",),
  "protocols.evaluate": ("evaluate",),
  "runs": ("RunError", "TrainingDivergedError"),
  "train": ("train_and_evaluate",),
}


def __getattr__(name: str) -> object:
  """Imports what is named above at its first use: JAX takes seconds to import."""
  for module, names in DEFINED_IN.items():
    if name in names:
      return getattr(importlib.import_module(f"ssljax.{module}"), name)
  if name == "__version__":
    return importlib.import_module("importlib.metadata").version("ssljax")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
