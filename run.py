"""Pre-trains or evaluates whatever a config says.

  python run.py                                           a first run, on digits
  python run.py --config configs/byol_imagenet.py         a recipe
  python run.py --config configs/byol_imagenet.py:smoke   the same in a minute
  python run.py --config configs/byol_imagenet.py --config.batch_size=1024
  python run.py --config configs/eval/linear.py --config.checkpoint=runs/byol_imagenet

A run is a folder: config.json, metrics.jsonl, TensorBoard events, checkpoints/,
figures/. The same command line continues a run that was stopped.
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

import ssljax

DEFAULT = pathlib.Path(__file__).parent / "configs" / "simclr_digits.py"
CONFIG = config_flags.DEFINE_config_file(
  "config", str(DEFAULT), "FILE[:variant]; any field: --config.group.field=value."
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "The run's folder; default: runs/<config name>."
)


def main(argv: list[str]) -> None:
  """Trains, or evaluates where the config names an evaluator."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]!r}; every option starts with --")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  config, workdir = CONFIG.value, WORKDIR.value
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  try:
    if "evaluator" in config:
      ssljax.evaluate(config, workdir)
    else:
      name = pathlib.Path(path.split(":")[0]).stem
      ssljax.train_and_evaluate(config, workdir or f"runs/{name}")
  except (ssljax.ConfigError, ssljax.TrainingDivergedError) as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  app.run(main)
