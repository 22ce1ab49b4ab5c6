"""A run on disk: state, data position and config in one orbax checkpoint."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from ssljax.fields import as_path


class Checkpoints:
  """The folder `workdir/checkpoints`; saves run in the background.

  A checkpoint appears under its step number only when it is whole, so a killed run
  leaves whole ones alone.
  """

  def __init__(self, workdir: str | pathlib.Path, every_steps: int = 1, keep: int = 1):
    """Keeps the newest `keep`; `every_steps` is the policy of `is_due`."""
    self.every_steps = every_steps
    self.manager = ocp.CheckpointManager(
      as_path(workdir).absolute() / "checkpoints",
      item_names=("state", "meta"),
      options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
    )

  @property
  def latest(self) -> int | None:
    """The newest whole checkpoint's step."""
    return self.manager.latest_step()

  @property
  def steps(self) -> list[int]:
    """Those of all whole checkpoints, the newest last."""
    return sorted(self.manager.all_steps())

  def why_none(self) -> str:
    """What lies where there is no whole checkpoint, in a sentence."""
    folder = pathlib.Path(self.manager.directory)
    names = sorted(path.name for path in folder.iterdir())
    if begun := [name for name in names if ocp.utils.TMP_DIR_SUFFIX in name]:
      return f"{folder / begun[-1]} was begun, and is no whole checkpoint yet"
    if names:
      return f"nothing in {folder} is a checkpoint of ssljax ({', '.join(names[:5])})"
    return f"{folder} is empty"

  def is_due(self, step: int) -> bool:
    """Whether the policy wants a checkpoint at this step."""
    return step % self.every_steps == 0

  def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
    """Starts writing; returns once the arrays are copied off the devices."""
    if step == self.latest:
      return
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
    )
    self.manager.save(step, args=args)

  def restore(self, like: Any, layout: Any, step: int | None = None) -> Any:
    """The state at `step`, or the newest, laid out as `layout` (a tree of shardings).

    `like` is a tree of shapes; the mesh may differ from the one that wrote it.
    """
    abstract = jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, layout
    )
    args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    return self.manager.restore(step or self.latest, args=args)["state"]

  def read_meta(self, step: int | None = None) -> dict[str, Any]:
    """The `meta` of `step`, or of the newest, as it was saved."""
    args = ocp.args.Composite(meta=ocp.args.JsonRestore())
    return self.manager.restore(step or self.latest, args=args)["meta"]

  def identity(self, step: int) -> str:
    """What no other checkpoint has: its step, and when it was begun, in nanoseconds."""
    return f"{step} of {self.manager.metadata(step).init_timestamp_nsecs}"

  def reached_preemption(self, step: int) -> bool:
    """Whether the cluster is about to take this machine (several processes agree)."""
    return self.manager.reached_preemption(step)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_) -> None:
    """Waits for the writes under way."""
    self.manager.close()
