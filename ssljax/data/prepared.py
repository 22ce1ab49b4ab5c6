"""Sources whose pictures were decoded once, by configs/eval/prepare.py.

The source stays what says which data it is: labels, names and identity are its own, so
that a run on raw canvases is the run on its pictures, bit for bit.
"""

import importlib.metadata
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from PIL import features

from ssljax.data import decode, identity
from ssljax.data.canvases import Canvas, Canvases, Layout, rows_of
from ssljax.data.codec import Example, Spec
from ssljax.data.identity import Identity
from ssljax.data.source import Source, Splits
from ssljax.fields import ConfigError, as_path

MANIFEST = "prepared.json"


class Prepared(Source):
  """A source that reads its pictures as canvases; all else is the source's own."""

  def __init__(self, source: Source, canvases: Canvases):
    self.source, self.canvases = source, canvases
    self.name, self.class_names = source.name, source.class_names
    self.root = canvases.folder
    if hasattr(source, "captions"):
      self.captions = source.captions

  @property
  def origin(self):
    """The source of the pictures, undecoded: by it the data is known."""
    return self.source.origin

  def codecs(self, size: int):
    """Returns the codec of canvases, which are of one size."""
    layout = self.canvases.layout
    if size != layout.spec["image"][0][0]:
      raise ConfigError(_other_size(self.root.parent, layout.spec, size))
    return (Canvas(layout.form, layout.spec),)

  def save(self, folder: str | os.PathLike) -> None:
    """Saves in a run's folder what opening the source again needs."""
    self.source.save(folder)

  def path(self, index: int) -> str:
    """Returns what a person knows the example by, in the source."""
    return self.source.path(index)

  def listed(self):
    """The numbers i64 [N] of the examples in the publisher's lists."""
    return self.source.listed()

  def known_labels(self) -> Sequence[int]:
    """Returns the labels [N], which lie beside the canvases."""
    return self.canvases.columns["label"].tolist()

  def facts(self):
    """Returns the facts of the source."""
    return self.source.facts()

  def __len__(self) -> int:
    return len(self.canvases)

  def __getitem__(self, index: int) -> Example:
    example = self.canvases[index]
    if hasattr(self, "captions"):
      example["caption"] = self.captions[index]
    return example


def add(
  sources: Splits, size: int, *, prepared: str = "", lossy: bool = False
) -> Splits:
  """Reads the pictures of both sources from the folder `prepared`; "": as they are.

  `lossy` allows canvases kept as JPEGs, whose numbers are not quite the pictures'.
  ConfigError where they are of other data, of another size, or not all there.
  """
  if not prepared:
    return sources
  folder = as_path(prepared)
  manifest = read(folder)
  if manifest["size"] != size:
    raise ConfigError(_other_size(folder, spec_of(manifest), size))
  known = sources._asdict().items()
  identities = {name: identity.identify(s) for name, s in known if s is not None}
  now = manifest_of(sources, size, manifest["form"], identities)
  _check(f"data.prepared={str(folder)!r}", manifest, now, lossy)
  return open_splits(sources, manifest, folder)


def open_splits(
  sources: Splits, manifest: dict[str, Any], folder: pathlib.Path
) -> Splits:
  """Opens canvases of `sources`, which a manifest describes; ConfigError: a damage."""
  opened = []
  for name, source in sources._asdict().items():
    if source is not None:
      layout = layout_of(manifest, len(source))
      source = Prepared(source, Canvases(folder / name, layout))
    opened.append(source)
  return Splits(*opened)


def manifest_of(
  sources: Splits, size: int, form: str, identities: dict[str, Identity]
) -> dict[str, Any]:
  """Describes canvases of sources: form, spec, what decodes, and which data it is."""
  spec = {k: v for c in sources.train.codecs(size) for k, v in c.spec.items()}
  manifest = {
    "form": form,
    "size": size,
    "spec": spec,
    "rows": rows_of(form, spec),
    "decoder": {
      "canvas": decode.CANVAS,
      "pillow": importlib.metadata.version("pillow"),
      "libjpeg": features.version("libjpeg_turbo") or features.version("jpg"),
    },
    "identity": identities,
  }
  return json.loads(json.dumps(manifest))


def spec_of(manifest: dict[str, Any]) -> Spec:
  """Reads the spec of canvases out of a manifest, where JSON has no tuples."""
  return {name: (tuple(s), dtype) for name, (s, dtype) in manifest["spec"].items()}


def layout_of(manifest: dict[str, Any], examples: int) -> Layout:
  """Returns how a split of so many examples lies."""
  return Layout(manifest["form"], spec_of(manifest), manifest["rows"], examples)


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
  """Lists in what two manifests differ, for a sentence: "form", "train names", ..."""
  words = [k for k in ("form", "size") if before[k] != now[k]]
  words += ["spec"] if not words and before["spec"] != now["spec"] else []
  old, new = before["identity"], now["identity"]
  for split in sorted(old.keys() | new.keys()):
    if split not in old or split not in new:
      words.append(f"{split} split ({'none' if split not in old else 'none now'})")
    else:
      words += [
        f"{split} {word}" for word in identity.differences(old[split], new[split])
      ]
  return words


def read(folder: pathlib.Path) -> dict[str, Any]:
  """Reads a folder's manifest; ConfigError where it has none."""
  path = folder / MANIFEST
  try:
    manifest = json.loads(path.read_text("utf-8"))
    if {"form", "size", "spec", "rows", "decoder", "identity"} <= manifest.keys():
      return manifest
    reason = "it is none of ours"
  except (OSError, ValueError, AttributeError) as error:
    reason = getattr(error, "strerror", None) or str(error)
  raise ConfigError(
    f"data.prepared={str(folder)!r} holds no canvases ({str(path)!r}: {reason}); make "
    "them with configs/eval/prepare.py, or leave it empty"
  )


def _check(name, manifest, now, lossy) -> None:
  if manifest["decoder"]["canvas"] != now["decoder"]["canvas"]:
    raise ConfigError(
      f"{name} was made by an ssljax that decoded in another way; prepare the pictures "
      "anew in another folder"
    )
  if words := differences(manifest, now):
    raise ConfigError(
      f"{name} was made of other data, which differs in {', '.join(words)}; name the "
      "data it was made of, or prepare this in another folder"
    )
  if manifest["form"] == "jpeg" and not lossy:
    raise ConfigError(
      f"{name} holds JPEGs, whose numbers are not quite those of the pictures; set "
      "data.lossy=True to take them, or prepare raw canvases"
    )


def _other_size(folder: pathlib.Path, spec: Spec, size: int) -> str:
  there = spec["image"][0][0]
  return (
    f"data.prepared={str(folder)!r} holds canvases of {there} pixels, and data.size="
    f"{size}; set data.size={there}, or prepare others in another folder"
  )
