"""The command `ssljax`, which is `python -m ssljax` and `python run.py` as well."""

import os
import signal
import sys


def end(number: int, _=None) -> None:
  """Ctrl-C or SIGTERM where there are no steps to save: a sentence, and no more."""
  os.write(2, b"\nStopped: what was saved is whole, and the same line goes on.\n")
  os._exit(128 + number)


for number in (signal.SIGINT, signal.SIGTERM):  # first: the imports take seconds
  if signal.getsignal(number) is not signal.SIG_IGN:
    signal.signal(number, end)

from absl import app, flags, logging  # noqa: E402

import ssljax  # noqa: E402
from ssljax import command_line  # noqa: E402
from ssljax.command_line import listing, new  # noqa: E402
from ssljax.runs import stop  # noqa: E402

USAGE = """Pre-trains or evaluates whatever a config says.

  {0}                                           a first run, on digits
  {0} --config configs/byol_imagenet.py         a recipe; its name alone will do
  {0} --config configs/byol_imagenet.py:smoke   the same in a minute
  {0} --config configs/byol_imagenet.py --config.batch_size=1024
  {0} --config configs/eval/linear.py --config.checkpoint=runs/byol_imagenet
  {0} list                                      recipes and protocols, with claims
  {0} show byol_imagenet                        all that can be set; as --fields
  {0} new method NAME                           a method's files, in a clone

A run is a folder, runs/<config name> or --workdir: report.html, config.json,
metrics.jsonl, TensorBoard events, checkpoints/, figures/. The same command line
continues a run that was stopped."""
CONFIG = flags.DEFINE_string(
  "config", "configs/simclr_digits.py", "FILE[:variant]; --config.group.field=VALUE."
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "The run's folder; default: runs/<config name>."
)
FIELDS = flags.DEFINE_bool(
  "fields", False, "Lists the config's fields: value, what may be, default, source."
)


def parse(argv: list[str]) -> tuple:
  """Reads the flags -> the config's name, the config; or prints what is asked for."""
  program, *arguments = argv
  try:
    match arguments:
      case ["list"]:
        tell(listing.recipes())
      case ["new", *rest]:
        tell(new.write(rest))
      case ["show", name, *rest] if not name.startswith("-"):
        argv = [program, "--config", name, "--fields", *rest]
    if {"--help", "-h", "-help", "--helpfull", "--helpshort"} & {*arguments}:
      name = "python run.py" if program.endswith("run.py") else "ssljax"
      tell(f"{USAGE.format(name)}\n\n{listing.recipes()}")
    overrides, rest = command_line.split(argv)
    rest = flags.FLAGS(rest)
    if len(rest) > 1:
      hint = "it is --option=VALUE, or one of: list, show NAME, new method NAME"
      raise ssljax.ConfigError(f"unknown argument {rest[1]!r}; {hint}")
    name, config = command_line.load(CONFIG.value)
    for path, text in overrides:
      command_line.override(config, path, text)
  except (flags.Error, ssljax.ConfigError) as error:
    sys.exit(f"error: {' '.join(str(error).split())}")
  return name, config


def tell(text: str) -> None:
  """Prints a text that was asked for, and ends."""
  signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `list | head` ends in peace
  print(text)
  sys.exit()


def main(parsed: tuple) -> None:
  """Trains, or evaluates where the config names an evaluator."""
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  stop.watch(end)
  name, config = parsed
  try:
    if FIELDS.value:
      print(listing.fields_text(config))
    elif "evaluator" in config:
      ssljax.evaluate(config, WORKDIR.value)
    else:
      ssljax.train_and_evaluate(config, WORKDIR.value or f"runs/{name}")
  except (ssljax.ConfigError, ssljax.RunError) as error:
    sys.exit(f"error: {error}")
  if stop.answered == signal.SIGINT:  # what follows in a script shall not start
    sys.exit(128 + signal.SIGINT)


def start() -> None:
  """Reads the command line, and does what it says."""
  for stream in (sys.stdout, sys.stderr):  # names of files are of every alphabet
    stream.reconfigure(errors="backslashreplace")
  app.run(main, flags_parser=parse)


if __name__ == "__main__":
  start()
