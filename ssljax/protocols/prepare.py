"""Canvases decoded once, for runs to read: a protocol that needs no checkpoint."""

import dataclasses
import os
import pathlib
import shutil
from typing import Annotated

import jax
from ml_collections import ConfigDict

from ssljax import data, fields, provenance, sharding
from ssljax.data import canvases, prepared, preparing
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import OneOf
from ssljax.runs import lock, writing

SOURCE = "ssljax/protocols/prepare.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
  """The fields of a preparation's config that are in no group."""

  evaluator: str  # "prepare"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare:
  """The group `prepare`."""

  form: Annotated[str, OneOf(canvases.FORMS)] = "raw"  # or JPEGs, of a sixth the bytes


def declare(config: ConfigDict) -> list[Group]:
  """Lists the groups of a preparation's config with the fields that may stand there."""
  ungrouped = Group("", "the config", fields.declared(Preparation))
  return [
    fields.with_groups(ungrouped, ("data", "prepare"), SOURCE),
    data.declare(fields.at(config, "data"), plain=True),
    Group("prepare", "prepare", fields.declared(Prepare)),
  ]


def evaluate(config: ConfigDict, out: str | pathlib.Path | None = None) -> dict:
  """Writes the canvases of config.data to `out`, default runs/canvases -> {}.

  Stopped, the same line goes on; on a finished folder it checks every byte, and makes
  anew what is damaged.
  """
  for group in declare(config):
    fields.check(group, fields.at(config, group.path))
  sharding.start_processes()
  if jax.process_count() > 1:
    raise ConfigError(
      f"pictures are prepared by one process, and these are {jax.process_count()}; "
      "start one, on one machine"
    )
  folder = fields.as_path(out or "runs/canvases")
  with lock.owned(folder), writing(folder):
    splits = data.as_they_are(config.data)
    size, form = config.data.size, config.prepare.form
    need = preparing.need(splits, size, form)
    identities = provenance.identify(splits)
    manifest = prepared.manifest_of(splits, size, form, identities)
    if not (folder / prepared.MANIFEST).exists():
      _check_room(folder, need)
    manifest = preparing.begin(folder, manifest)
    workers = config.data.get("workers") or os.cpu_count()
    damaged = preparing.write(splits, manifest, folder, workers)
    _say(splits, manifest, folder, damaged)
  return {}


def _check_room(folder: pathlib.Path, need: int) -> None:
  free = shutil.disk_usage(folder).free
  if need > free:
    raise ConfigError(
      f"canvases take {need / 1e9:,.1f} GB and {folder} has {free / 1e9:,.1f} GB left; "
      "name another --workdir, a smaller data.size, or --config.prepare.form=jpeg"
    )


def _say(splits, manifest, folder, damaged) -> None:
  """Prints what was found and written, and how near it is to direct decoding."""
  for sentence in damaged:
    print(f"{sentence.partition(';')[0]}: it was made anew.")
  read = prepared.open_splits(splits, manifest, folder)
  for name, source in read._asdict().items():
    if source is not None:
      unreadable = source.canvases.reasons
      extra = f", {len(unreadable):,} of them unreadable" if unreadable else ""
      size = source.canvases.columns["length"].sum() / max(1, len(source)) / 1000
      print(f"{name}: {len(source):,} pictures{extra}, {size:,.1f} kB each")
  error = preparing.compare(splits, read, manifest["size"])
  told = f"differ by {error:.2f} levels of 255 on average" if error else "are equal"
  print(f"Decoded again, {preparing.COMPARED} of a split at most, they {told}.")
  more = " --config.data.lossy=True" if manifest["form"] == "jpeg" else ""
  print(f"written to {folder}: --config.data.prepared={folder}{more}")
