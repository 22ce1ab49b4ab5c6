"""Self-supervised and contrastive representation learning in JAX and Flax."""

from ssljax.core import Aux, Method, TrainState, train_step
from ssljax.encoder import load_encoder
from ssljax.fields import ConfigError
from ssljax.protocols import evaluate
from ssljax.train import TrainingDivergedError, train_and_evaluate

__all__ = [
  "Aux",
  "ConfigError",
  "Method",
  "TrainState",
  "TrainingDivergedError",
  "evaluate",
  "load_encoder",
  "train_and_evaluate",
  "train_step",
]
