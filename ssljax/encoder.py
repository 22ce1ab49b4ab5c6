"""A trained encoder out of a run's folder: features from pictures in three lines."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import recipe, schedules, sharding
from ssljax.checkpoint import Checkpoints
from ssljax.core import TrainState
from ssljax.fields import ConfigError
from ssljax.recipe import Recipe


def load_encoder(
  workdir: str | pathlib.Path, batch_size: int = 256
) -> Callable[[np.ndarray], np.ndarray]:
  """-> encoder(images uint8 [N,H,W,3]) -> features [N,D] f32, on any N, H and W.

  Their central squares are resized as the run's evaluation does, and seen in batches.
  Raises ConfigError where `workdir` holds no checkpoint.
  """
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  _, parts, state = restore(workdir, mesh)
  state = state.replace(opt_state=None)
  embed = jax.jit(parts.embed)

  def encoder(images: np.ndarray) -> np.ndarray:
    is_pictures = images.ndim == 4 and images.shape[-1] == 3 and len(images)
    if not is_pictures or images.dtype != np.uint8:
      raise ValueError(
        f"images are {images.dtype} {list(images.shape)}; they must be uint8 "
        "[N,H,W,3], at least one"
      )
    rows = []
    for start in range(0, len(images), batch_size):
      index = np.arange(start, start + min(batch_size, len(images)))
      batch = {"image": images[np.minimum(index, len(images) - 1)]}
      batch["index"] = np.zeros(len(index), np.int32)
      rows.append(embed(state, batch))
    return np.concatenate(jax.device_get(rows))[: len(images)]

  return encoder


def restore(
  workdir: str | pathlib.Path, mesh: Mesh
) -> tuple[ConfigDict, Recipe, TrainState]:
  """The newest checkpoint of a run -> its config, its parts, its state on `mesh`."""
  workdir = pathlib.Path(workdir)
  if not (workdir / "checkpoints").is_dir():
    raise ConfigError(
      f"{workdir} holds no run: there is no folder {workdir / 'checkpoints'}"
    )
  with Checkpoints(workdir) as checkpoints:
    if checkpoints.latest is None:
      raise ConfigError(f"{workdir} holds no finished checkpoint yet")
    meta = checkpoints.read_meta()
    config = ConfigDict(meta["config"])
    plan = schedules.Plan(**meta["plan"])
    parts = recipe.build(config, plan)
    shapes = recipe.trace(parts, recipe.example_batch(config))
    state = checkpoints.restore(shapes, sharding.state_sharding(shapes, mesh))
  return config, parts, state
