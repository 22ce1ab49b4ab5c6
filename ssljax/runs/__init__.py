"""A run's folder: whose run it holds, how far that is, what cannot be written there."""

import contextlib
import errno
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from absl import logging
from ml_collections import ConfigDict

from ssljax import sharding
from ssljax.fields import ConfigError, flat
from ssljax.schedules import Plan

# May differ between a run's folder and the command that continues it: they change
# neither the state nor the order of the data.
FREE = (
  "log_every",
  "profile",
  "microbatch",  # to rounding
  "split_state",  # likewise
  "steps_per_dispatch",  # likewise
  "data.dir",
  "data.prepared",
  "data.in_memory",
  "data.on_device",
  "data.workers",
  "checkpoint",
  "evals.every_epochs",
  "evals.at_end",
  "evals.crop",
  "evals.knn",
  "evals.few_label",
)
FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS  # said of writing alone
DISK = (  # what a disk answers, also in the words of libraries
  *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
  *(errno.ESTALE, errno.ENODEV, errno.EACCES, errno.EPERM),
)
LENGTH = ("steps", "epochs")  # may grow: see `History`


class RunError(RuntimeError):
  """A run that cannot go on; its message is meant for the person who started it."""


class WriteError(RunError):
  """What a run leaves could not be written; the message names it and the way on."""


class DataLostError(RunError):
  """The data can no longer be read; the message says what was saved."""


class TrainingDivergedError(RunError):
  """A metric is no longer a finite number; the message names it."""


@contextlib.contextmanager
def writing(folder: pathlib.Path) -> Iterator[None]:
  """Raises a WriteError for what the disk refuses, inside, of files in `folder`."""
  try:
    yield
  except OSError as error:
    name = pathlib.Path(error.filename or folder)
    if not (name.is_relative_to(folder) if error.filename else error.errno in FULL):
      raise  # of something that was to be read
    raise WriteError(unwritten(name, error.strerror or str(error))) from error


def check_writable(folder: pathlib.Path) -> None:
  """Raises ConfigError where nothing can be written to `folder`, there or not."""
  refusal = ""
  if jax.process_index() == 0:
    try:
      place = next(path for path in (folder, *folder.parents) if path.exists())
      with tempfile.TemporaryFile(dir=place):
        pass
    except OSError as error:
      refusal = (
        f"{folder} cannot be written to ({error.strerror}); name another: --workdir=..."
      )
  if refusal := sharding.told(refusal):
    raise ConfigError(refusal)


def write(path: pathlib.Path, text: str) -> None:
  """Writes the whole file, or leaves the one before, whoever else writes it.

  In UTF-8; of names that are none, the other bytes are written out.
  """
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  try:
    temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    temporary.replace(path)
  finally:
    with contextlib.suppress(OSError):  # what went wrong before is said
      temporary.unlink()


def unwritten(name: str | pathlib.Path, why: str) -> str:
  """Writes the sentence for a file or folder that the disk did not take."""
  return (
    f"{name} could not be written ({why}); what was saved before is whole: see to the "
    "disk, and the same line continues"
  )


def reason_of_the_disk(error: BaseException | None) -> str:
  """Finds what a disk answered, somewhere behind an exception; "" where none did."""
  while error:
    if isinstance(error, OSError) and error.errno:
      return os.strerror(error.errno)
    for number in DISK:
      if os.strerror(number) in str(error):
        return os.strerror(number)
    error = error.__cause__ or error.__context__
  return ""


def check_same_run(
  config: ConfigDict, workdir: pathlib.Path, free: tuple[str, ...] = LENGTH
) -> bool:
  """Whether `workdir` holds the run of `config`; ConfigError if another's.

  All processes ask together. `free`: fields that may differ besides FREE, by default
  its length.
  """
  metrics = workdir / "metrics.jsonl"
  has_metrics = metrics.exists() and metrics.stat().st_size
  holds = has_metrics or any(workdir.glob("checkpoints/[0-9]*"))
  if not sharding.told("a run" if holds else ""):
    return False  # nothing that could be lost
  old, new = flat(stored_config(workdir)), flat(json.loads(config.to_json()))
  for said in (old, new):  # no list is as no field, of an older run
    said.update({name: None for name, value in said.items() if value == []})
    if said.get("data.lossy"):  # canvases of JPEGs are not quite the pictures
      said["data.lossy canvases"] = bool(said.get("data.prepared"))
  differing = [
    f"{name}={old.get(name)} there, {new.get(name)} here"
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name) and not name.startswith(FREE) and name not in free
  ]
  if differing:
    raise ConfigError(
      f"{workdir} holds a run of another config ({'; '.join(differing[:5])}); "
      "name another --workdir, or delete that one"
    )
  return True


def stored_config(workdir: pathlib.Path) -> dict[str, Any]:
  """Reads the config of the run in `workdir`; all processes ask together.

  Where config.json is damaged or gone, that of its newest whole checkpoint; ConfigError
  where there is none.
  """
  from ssljax.checkpoint import Checkpoints  # which knows this file

  text, path = "", workdir / "config.json"
  with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
    text = path.read_text("utf-8")
  text = sharding.told(text)
  with contextlib.suppress(ValueError):
    config = json.loads(text)
    if isinstance(config, dict):
      return config
  if sharding.exists(workdir / "checkpoints"):
    with Checkpoints(workdir) as checkpoints:
      step = checkpoints.choose()
      meta = {} if step is None else checkpoints.read_meta(step)
    if "config" in meta:
      logging.warning("%s is damaged or gone: that of step %d is taken", path, step)
      return meta["config"]
  raise ConfigError(
    f"{workdir} holds metrics or checkpoints but no config.json to tell whose they "
    "are, or a damaged one; put back a copy of it, or name another --workdir"
  )


class History(NamedTuple):
  """The steps and lengths of a run before it was started again."""

  step: int  # of the checkpoint from which it goes on; 0: it begins
  lengths: tuple[tuple[int, int], ...]  # (from which step on, how many in all)
  ended: bool = False  # at `step`, as it was to be shorter then
  meta: Mapping[str, Any] = MappingProxyType({})  # of the checkpoint


def history(checkpoints, plan: Plan) -> History:
  """Reads what the newest whole checkpoint knows, and the run's length from there on.

  Damaged ones are named. ConfigError where the run is to be shorter than
  it is, or where no checkpoint is whole.
  """
  total = plan.total_steps
  step = checkpoints.choose()
  if step is None:
    return History(0, ((0, total),))
  if step > total:
    raise ConfigError(
      f"the run in {checkpoints.folder.parent} has done {step} steps already, and here "
      f"steps or epochs make {total}; set more, or name another --workdir"
    )
  meta = checkpoints.read_meta(step)
  lengths = tuple(map(tuple, meta.get("lengths") or [(0, meta["plan"]["total_steps"])]))
  _, last_total = lengths[-1]
  if total != last_total:
    lengths = (*lengths, (step, total))
  ended = step == last_total and total > last_total
  return History(step, lengths, ended, meta)
