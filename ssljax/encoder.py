"""A trained encoder out of a run's folder: features from pictures in three lines."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import checkpoint, data, provenance, recipe, schedules, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.core import TrainState
from ssljax.fields import ConfigError, as_path
from ssljax.parts import Parts


def load_encoder(
  workdir: str | pathlib.Path, batch_size: int = 256
) -> Callable[[np.ndarray], np.ndarray]:
  """Loads encoder(images uint8 [N,H,W,3]) -> features [N,D] f32, on any N, H and W.

  Their central squares are resized as the run's evaluation does, and seen in batches.
  Where a run learned from something else, that is what the encoder takes, as the
  run's own batches hold it. Raises ConfigError where `workdir` holds no checkpoint.
  """
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  _, parts, state, spec, *_ = restore(workdir, mesh)
  state = state.replace(opt_state=None)
  embed = jax.jit(parts.embed)
  name = parts.method.input
  shape, dtype = spec[name]
  shape = ("H", "W", *shape[2:]) if name == "image" else shape

  def encoder(x: np.ndarray) -> np.ndarray:
    pairs = zip(x.shape[1:], shape, strict=False)
    fits = x.ndim == 1 + len(shape) and all(w in ("H", "W", n) for n, w in pairs)
    if not fits or not len(x) or x.dtype != dtype:
      raise ValueError(
        f"{name}s are {x.dtype} {list(x.shape)}; they must be {dtype} "
        f"[{','.join(map(str, ('N', *shape)))}], at least one"
      )
    rows = []
    for start in range(0, len(x), batch_size):
      index = np.arange(start, start + min(batch_size, len(x)))
      batch = {name: x[np.minimum(index, len(x) - 1)]}
      batch["index"] = np.zeros(len(index), np.int32)
      rows.append(embed(state, batch))
    return np.concatenate(jax.device_get(rows))[: len(x)]

  return encoder


class Trained(NamedTuple):
  """A run as it was left, or as it was at an earlier checkpoint."""

  config: ConfigDict
  parts: Parts
  state: TrainState
  spec: data.Spec  # of the batches that it saw
  plan: schedules.Plan
  identity: str  # the checkpoint's own
  learned: provenance.Identities  # the data it did from; {}: it does not say

  @property
  def judged(self) -> TrainState:
    """The state with the weights that are judged: of DINO the teacher's."""
    return self.state.replace(**self.parts.method.weights(self.state))


def restore(
  workdir: str | pathlib.Path, mesh: Mesh, step: int = 0, split_state: int = 0
) -> Trained:
  """Restores a run's checkpoint of `step`, 0 for the newest, its state on `mesh`.

  The mesh may be of other devices than wrote it, and the state be split over them as
  a run's field `split_state` says, whatever it was there. A damaged newest one is named
  and the one before taken. ConfigError where there is none, or what is there is no
  whole checkpoint of this program.
  """
  workdir = as_path(workdir)
  folder = workdir / "checkpoints"
  if not folder.is_dir():
    raise ConfigError(f"{workdir} holds no run: there is no folder {folder}")
  with Checkpoints(workdir) as checkpoints:
    steps = checkpoints.steps
    if not steps:
      why = checkpoints.why_none()
      raise ConfigError(f"{workdir} holds no finished checkpoint: {why}")
    if step and step not in steps:
      listed = ", ".join(map(str, steps))
      raise ConfigError(f"step={step} is no checkpoint of {workdir}; it has {listed}")
    step = checkpoints.choose(step)
    meta = checkpoints.read_meta(step)
    try:
      config, plan = ConfigDict(meta["config"]), schedules.Plan(**meta["plan"])
      spec = {k: (tuple(shape), dtype) for k, (shape, dtype) in meta["spec"].items()}
    except (KeyError, TypeError, ValueError) as error:
      raise ConfigError(
        f"{folder / str(step)} is no checkpoint that ssljax wrote: its meta holds no "
        f"config of a run ({type(error).__name__}: {error})"
      ) from error
    parts = recipe.build(config, plan)
    shapes = recipe.shapes(parts, data.zeros(spec, config.batch_size))
    by_row = parts.method.by_row
    layout = sharding.state_sharding(shapes, mesh, by_row, split_state)
    state = checkpoints.restore(shapes, layout, step)
    learned = meta.get("identity", {})
    name = checkpoint.identity(folder / str(step))
    return Trained(config, parts, state, spec, plan, name, learned)


def steps(workdir: str | pathlib.Path) -> list[int]:
  """Lists the steps of a run's whole checkpoints, newest last; names damaged ones."""
  with Checkpoints(workdir) as checkpoints:
    return checkpoints.whole()


def identity(workdir: str | pathlib.Path, step: int = 0) -> str:
  """Identifies a run's checkpoint of `step`, 0 for the newest whole one; "": none."""
  workdir = as_path(workdir)
  if not (workdir / "checkpoints").is_dir():
    return ""
  with Checkpoints(workdir) as checkpoints:
    step = checkpoints.choose(step)
    folder = checkpoints.folder / str(step)
    return checkpoint.identity(folder) if step is not None else ""


def holds(workdir: str | pathlib.Path, identity: str) -> bool:
  """Whether a run still has the checkpoint of this identity."""
  folder = as_path(workdir) / "checkpoints" / identity.partition(" ")[0]
  return identity == checkpoint.identity(folder)


def learned(workdir: str | pathlib.Path) -> provenance.Identities:
  """Reads which data the newest checkpoint of a run is of; {}: nobody knows."""
  with Checkpoints(workdir) as checkpoints:
    step = checkpoints.choose()
    meta = checkpoints.read_meta(step) if step else {}
    return meta.get("identity", {})
