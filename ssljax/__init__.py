"""Self-supervised and contrastive representation learning in JAX and Flax."""

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
