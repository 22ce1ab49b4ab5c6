"""Pre-trains or evaluates whatever a config says.

  python run.py                                           a first run, on digits
  python run.py --config configs/byol_imagenet.py         a recipe
  python run.py --config configs/byol_imagenet.py:smoke   the same in a minute
  python run.py --config configs/byol_imagenet.py --config.batch_size=1024
  python run.py --config configs/eval/linear.py --config.checkpoint=runs/byol_imagenet

A run is a folder: report.html, config.json, metrics.jsonl, TensorBoard events,
checkpoints/, figures/. The same command line continues a run that was stopped.
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

import ssljax

DEFAULT = pathlib.Path(__file__).parent / "configs" / "simclr_digits.py"
CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "FILE[:variant]; any field: --config.group.field=value.",
  lock_config=False,
  accept_new_attributes=True,  # a wrong name is met later, beside the known ones
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "The run's folder; default: runs/<config name>."
)


def parse(argv: list[str]) -> list[str]:
  """Reads the flags; what is wrong with them ends the program in one sentence."""
  try:
    flags.set_default(CONFIG, str(DEFAULT))
    rest = flags.FLAGS(argv)
    getattr(CONFIG.value, "evaluator", None)  # a file that is missing shows here
  except KeyError as error:
    sys.exit(f"error: the config has no such group: {error.args[0]}")
  except (flags.Error, OSError) as error:
    # Above the last line stands the traceback of a config file.
    *_, line = str(error).strip().split("\n")
    sys.exit(f"error: {line.strip().removeprefix('ValueError: ')}")
  if len(rest) > 1:
    sys.exit(f"error: unknown argument {rest[1]!r}; every option starts with --")
  return rest


def main(_) -> None:
  """Trains, or evaluates where the config names an evaluator."""
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
  app.run(main, flags_parser=parse)
