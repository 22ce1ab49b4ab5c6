"""How a run's features changed: all checkpoints that it kept, side by side.

    python run.py --config configs/eval/progress.py --config.checkpoint=runs/dino

For more than two of them train with `--config.checkpoint.keep=...`. Agreement of
nearest neighbours is that of Huh et al. (2024), mutual kNN, between a checkpoint and
the one before it.
"""

from configs.eval import common


def get_config():
  return common.base("progress", k=10)
