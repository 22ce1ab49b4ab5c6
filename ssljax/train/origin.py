"""Which checkpoint of another run a run began with: kept in its folder."""

import pathlib

import jax
from ml_collections import ConfigDict

from ssljax import encoder, runs, sharding

START = "starts_from.txt"  # in a run's folder: the identity of a checkpoint


def identify(config: ConfigDict, workdir: pathlib.Path, goes_on: bool) -> str:
  """Identifies the checkpoint with which a run begins, or began; "": with none.

  A run that `goes_on` has it in its folder: what it began with may have moved on since.
  """
  group = config.pretrained
  if not group.checkpoint:
    return ""
  known = sharding.told(_remembered(workdir)) if goes_on else ""
  if known:
    return known
  identity = encoder.identity(group.checkpoint, group.step)
  if identity and jax.process_index() == 0:
    runs.write(workdir / START, identity)
  return identity


def moved(config: ConfigDict, workdir: pathlib.Path) -> tuple[str, ...]:
  """Lists what may be spelled otherwise: where the start lies, if it is the same."""
  known, place = _remembered(workdir), config.pretrained.checkpoint
  is_there = bool(known and place) and encoder.holds(place, known)
  return ("pretrained.checkpoint",) if is_there else ()


def _remembered(workdir: pathlib.Path) -> str:
  path = workdir / START
  return path.read_text() if path.exists() else ""
