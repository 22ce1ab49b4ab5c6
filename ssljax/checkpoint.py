"""A run on disk: state, data position and config in one orbax checkpoint.

By orbax's `CheckpointManager`. Its v1 API, which reads the same files, wraps that very
class, is `experimental` in the versions allowed here, and does not tell of preemption.
"""

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from ssljax import runs, sharding
from ssljax.fields import ConfigError, as_path

DIGESTS = "digests.json"  # in a checkpoint: {file: [bytes, SHA-256]} of all but
TIMES = "_CHECKPOINT_METADATA"  # when it was written, where orbax notes the end last
NEEDED = ("state", "meta")  # in a checkpoint that holds no digests
LONG = 10.0  # seconds of waiting for the disk, from which that is said

# What orbax logs with a traceback it raises as well, and that ends in a sentence.
logging.get_absl_logger().addFilter(
  lambda record: not (record.exc_info and "orbax" in record.pathname)
)


class Checkpoints:
  """Saves and restores a run in the folder `workdir/checkpoints`, in the background.

  A checkpoint appears under its step number only when it is whole, so a killed run
  leaves whole ones alone. What the disk does to it later its digests tell.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    every_steps: int = 1,
    keep: int = 1,
    owned: bool = False,
  ):
    """Keeps the newest `keep`; `every_steps` is the policy of `is_due`.

    `owned`: nobody else writes there now, and what a killed run had begun goes.
    """
    self.every_steps, self.waited = every_steps, 0.0
    self.folder = as_path(workdir).absolute() / "checkpoints"
    background = ocp.options.AsyncOptions(post_finalization_callback=self._digest)
    self.manager = ocp.CheckpointManager(
      self.folder,
      item_names=("state", "meta"),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=True,
        cleanup_tmp_directories=owned,
        async_options=background,
      ),
    )

  @property
  def latest(self) -> int | None:
    """The newest step, of a checkpoint that may still be under way; None: none."""
    return self.manager.latest_step()

  @property
  def steps(self) -> list[int]:
    """The steps of all checkpoints that process 0 sees, newest last, damaged or not."""
    return json.loads(sharding.told(json.dumps(self._there())))

  def whole(self) -> list[int]:
    """Lists the steps of checkpoints that are as written; names damaged ones."""
    return [step for step in self.steps if not self._is_damaged(step)]

  def choose(self, step: int = 0) -> int | None:
    """Returns `step`, or for 0 that of the newest whole checkpoint; None: none.

    Damaged ones are named on the way. ConfigError where that leaves none, or where
    `step` is one of them.
    """
    steps = self.steps
    if step:
      if why := self.damage(step):
        raise ConfigError(
          f"step={step}: {self.folder / str(step)} is damaged ({why}); take another of "
          f"{', '.join(map(str, steps))}, or 0 for the newest that is whole"
        )
      return step
    for step in reversed(steps):
      if not self._is_damaged(step):
        return step
    if steps:
      raise ConfigError(
        f"{self.folder / str(steps[-1])} is damaged ({self.damage(steps[-1])}) and no "
        "checkpoint before it is whole; put back a copy of it, or name another folder"
      )
    return None

  def damage(self, step: int) -> str:
    """Says what the disk did to the checkpoint of `step`, by process 0; "": none."""
    why = ""
    if jax.process_index() == 0:
      try:
        why = self._damage(self.folder / str(step))
      except (OSError, ValueError) as error:
        why = str(error)
    return sharding.told(why)

  def set_aside(self, after: int) -> None:
    """Renames damaged checkpoints later than `after`: new ones will take their place.

    Nothing of them is lost, save their names.
    """
    for step in self._there() if jax.process_index() == 0 else ():
      if step > after:
        old = self.folder / str(step)
        names = (f"damaged-{step}-{i}" for i in itertools.count(1))
        new = next(new for new in map(self.folder.joinpath, names) if not new.exists())
        old.rename(new)
        logging.warning("%s is now %s, and may be deleted", old, new.name)
    sharding.told("")  # nobody looks before they are gone
    self.manager.reload()

  def why_none(self) -> str:
    """Says in a sentence what lies where there is no whole checkpoint."""
    names = sorted(path.name for path in self.folder.iterdir())
    if begun := [name for name in names if ocp.utils.TMP_DIR_SUFFIX in name]:
      return f"{self.folder / begun[-1]} was begun, and is no whole checkpoint yet"
    if names:
      listed = ", ".join(names[:5])
      return f"nothing in {self.folder} is a checkpoint of ssljax ({listed})"
    return f"{self.folder} is empty"

  def is_due(self, step: int) -> bool:
    """Whether the policy wants a checkpoint at this step."""
    return step % self.every_steps == 0

  def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
    """Starts writing a checkpoint; returns once the arrays are off the devices.

    `waited` is then how many seconds it took until the one before was written.
    WriteError where the disk does not take it, or did not take that.
    """
    if step == self.latest:
      return
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
    )
    began = time.monotonic()
    self.wait()
    self.waited = time.monotonic() - began
    with self._writing():
      self.manager.save(step, args=args)

  def wait(self) -> None:
    """Waits until all is written, which is said where it lasts; WriteError: `save`."""
    with self._writing():
      self.manager.wait_until_finished()

  def restore(self, like: Any, layout: Any, step: int | None = None) -> Any:
    """Restores the state at `step`, or the newest, laid out by a tree of shardings.

    `like` is a tree of shapes; the mesh may differ from the one that wrote it.
    ConfigError where what is there is no such state.
    """
    abstract = jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, layout
    )
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    return self._restore(step or self.latest, args)["state"]

  def read_meta(self, step: int | None = None) -> dict[str, Any]:
    """Reads the `meta` of `step`, or of the newest, as saved; ConfigError: none."""
    args = ocp.args.Composite(meta=ocp.args.JsonRestore())
    return self._restore(step or self.latest, args)["meta"]

  def reached_preemption(self, step: int) -> bool:
    """Whether the cluster is about to take this machine (several processes agree)."""
    return self.manager.reached_preemption(step)

  def __enter__(self) -> "Checkpoints":
    self._hook, sys.excepthook = sys.excepthook, self._news
    return self

  def __exit__(self, kind: type | None, *_) -> None:
    """Waits for the writes under way; what failed before is not said twice."""
    quiet = contextlib.suppress(runs.WriteError) if kind else contextlib.nullcontext()
    try:
      with quiet, self._writing():
        self.manager.close()
    finally:
      sys.excepthook = self._hook

  def _restore(self, step: int, args: ocp.args.Composite) -> Any:
    try:
      return self.manager.restore(step, args=args)
    except (KeyError, TypeError, ValueError, OSError) as error:
      line, *_ = str(error).strip().split("\n")
      raise ConfigError(
        f"{self.folder / str(step)} is damaged, or was written by another version of "
        f"ssljax ({type(error).__name__}: {line[:200]})"
      ) from error

  def _news(self, kind: type, error: BaseException, trace: Any) -> None:
    """Reports errors of threads, but for what a failed write leaves behind."""
    if str(error) != "Event loop is closed":
      self._hook(kind, error, trace)

  def _there(self) -> list[int]:
    return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())

  def _is_damaged(self, step: int) -> bool:
    why = self.damage(step)
    if why:
      logging.warning(
        "%s is damaged (%s): the checkpoint before is used",
        self.folder / str(step),
        why,
      )
    return bool(why)

  def _damage(self, folder: pathlib.Path) -> str:
    if int(folder.name) not in self.manager.all_steps():
      return "its mark of completion is gone"
    if not (folder / DIGESTS).exists():
      gone = [name for name in NEEDED if not (folder / name).is_dir()]
      return f"{' and '.join(gone)} gone" if gone else ""
    for name, digest in json.loads((folder / DIGESTS).read_bytes()).items():
      path = folder / name
      if not path.exists():
        return f"{name} is gone"
      if _digest(path) != digest:
        return f"{name} is not what was written"
    return "" if _begun(folder) else f"{TIMES} is not what was written"

  def _digest(self) -> None:
    """Writes a checkpoint's digests, in the background, before it gets its name."""
    if jax.process_index():
      return
    for folder in self.folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
      files = (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != TIMES
      )
      digests = {str(path.relative_to(folder)): _digest(path) for path in files}
      (folder / DIGESTS).write_text(json.dumps(digests, indent=1))

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Raises what the disk refuses as a WriteError; says where it keeps waiting."""
    waits = "Waiting for the disk: a checkpoint in %s is not written yet"
    late = threading.Timer(LONG, logging.warning, (waits, self.folder))
    late.daemon = True
    late.start()
    try:
      yield
    except (OSError, ValueError, RuntimeError) as error:
      reason = runs.reason_of_the_disk(error)
      if not reason:
        raise
      steps = self._there()
      newest = f"holds step {steps[-1]}" if steps else "holds none yet"
      raise runs.WriteError(
        runs.unwritten(f"a checkpoint in {self.folder}, which {newest},", reason)
      ) from error
    finally:
      late.cancel()


def identity(folder: pathlib.Path) -> str:
  """Identifies a checkpoint by its step and when it was begun, in nanoseconds."""
  return f"{folder.name} of {_begun(folder)}"


def _digest(path: pathlib.Path) -> list[int | str]:
  with path.open("rb") as file:
    return [
      os.fstat(file.fileno()).st_size,
      hashlib.file_digest(file, "sha256").hexdigest(),
    ]


def _begun(folder: pathlib.Path) -> int | None:
  """Reads when a checkpoint was begun, in nanoseconds."""
  try:
    return json.loads((folder / TIMES).read_bytes())["init_timestamp_nsecs"]
  except (OSError, ValueError, KeyError, TypeError):
    return None
