"""A run's folder out of a file of weights: a command that needs no checkpoint."""

import dataclasses
import json
import pathlib
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ssljax import data, fields, nets, recipe, runs, schedules
from ssljax.checkpoint import Checkpoints
from ssljax.core import TrainState
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import Number, Range
from ssljax.runs import lock, writing
from ssljax.weights import (
  FAMILIES,
  Found,
  files,
  hub,
  networks,
  recognise,
  take,
  unflatten,
)

SOURCE = "ssljax/protocols/weights_in.py"
ORIGIN, REST = "origin.json", "rest.safetensors"  # of the folder
LINEAR, INSIDE = "linear_head.", "backbone."  # of the names of DINOv2's classifiers
PADDING = "</s>"  # SigLIP's texts are filled with their end
ENCODERS = [  # whose fields may be told
  nets.ENCODERS[name] for name in ("resnet50", "convnext_tiny", "swin_t", "vit_s")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
  """The fields of a loading's config that are in no group."""

  evaluator: str  # "load_weights"
  file: str  # of weights
  head: str = ""  # file of a linear classifier on them: DINOv2's
  format: str = ""  # a family; "": found out
  crop: Annotated[float, Range(0, 1)] = 0.0  # 0: the family's
  size: Number = 0  # pixels of a side; 0: the family's


def declare(config: ConfigDict) -> list[Group]:
  """Lists the groups of a loading's config with the fields that may stand there."""
  ungrouped = Group("", "the config", fields.declared(Loading))
  try:
    run = recipe.declare_training(fields.at(config, "run"))
  except ConfigError as error:  # of what decides which fields there are
    raise ConfigError(f"run.{error}") from error
  parts = {"encoder": ENCODERS, "text": (nets.TextTransformer,)}
  return [
    fields.with_groups(ungrouped, (*parts, "data", "run"), SOURCE),
    *(Group(name, name, _optional(networks)) for name, networks in parts.items()),
    data.declare(fields.at(config, "data")),
    *(g._replace(path=f"run.{g.path}".rstrip(".")) for g in run),
  ]


def _optional(networks: tuple) -> dict[str, fields.Field]:
  """Lists the fields of `networks`, none of which must be set."""
  known = {}
  for network in networks:
    declared = fields.declared(network, skip=nets.FIXED)
    known |= {k: f._replace(default=None) for k, f in declared.items()}
  return known


def evaluate(config: ConfigDict, out: str | pathlib.Path | None = None) -> dict:
  """Writes the folder `out` (default: runs/, called as the file) of config.file -> {}.

  It has what a run's has: config.json, and a checkpoint of step 0. origin.json says
  where the weights came from, rest.safetensors holds what is no part of the encoder.
  ConfigError where the file is none, or does not fit; nothing in it is executed.
  """
  for group in declare(config):
    fields.check(group, fields.at(config, group.path))
  if not config.file:
    raise ConfigError("config.file is empty; name a file of weights: --config.file=...")
  file = fields.as_path(config.file)
  folder = fields.as_path(out or pathlib.Path("runs", file.stem or "weights"))
  _check_free(folder)
  arrays, texts = files.read(file)
  said = hub.read(file) if file.is_dir() else hub.Said()
  head = fields.as_path(config.head) if config.head else None
  arrays = arrays if head is None else _with_head(arrays, head)
  own = _own(texts)
  told = {**said.encoder, **own.get("encoder", {}), **config.encoder.to_dict()}
  heads = {**said.heads, **own.get("heads", {})}
  heads["text"] = {**heads.get("text", {}), **config.text.to_dict()}
  found = recognise(arrays, config.format, told, heads)
  if head and "classifier" not in found.method:
    shape, width = arrays[f"{LINEAR}weight"].shape, found.fields.get("width")
    raise ConfigError(
      f"head={str(head)!r}: its weight is {list(shape)}, and DINOv2's read 2 or 5 "
      f"times the encoder's width, which is {width}"
    )
  for name in config.text if "text" not in found.method else ():
    raise ConfigError(f"text.{name}: the file has no tower of texts")
  ours = take(arrays, found)
  c = compose(config, found, {**said.pictures, **own.get("pictures", {})})
  sizes = networks.sizes({k: x.shape for k, x in ours.items()})
  tokenizer = _tokenizer(c, file, sizes.context) if sizes.context else None
  origin = {
    "file": file.name,
    "sha256": files.digest(file),
    "format": found.family,
    "form": FAMILIES[found.family].forms.index(found.form),
    "prefix": found.prefix,
    "tensors": len(arrays),
    "beside": list(found.left),
  }
  if head:
    origin |= {"head": head.name, "head_sha256": files.digest(head)}
  with lock.owned(folder), writing(folder):
    _check_free(folder)
    _write(c, ours, sizes, origin, folder)
    if tokenizer:
      tokenizer.save(folder)
    rest = {name: np.asarray(arrays[name]) for name in found.left}
    files.write(folder / REST, rest, {})
    runs.write(folder / ORIGIN, json.dumps(origin, indent=2) + "\n")
    runs.write(folder / "config.json", c.to_json(indent=2) + "\n")
  _say(file, found, c, folder)
  return {}


def compose(config: ConfigDict, found: Found, told: dict[str, Any]) -> ConfigDict:
  """Composes the config of a run whose encoder was `found`.

  Pictures are prepared as its family does, save for what the file itself says (`told`)
  and, first of all, what `config` says.
  """
  c = config.run.copy_and_resolve_references().unlock()
  c.data = config.data.copy_and_resolve_references()
  c.encoder, c.method = found.fields, found.method
  pictures = {**FAMILIES[found.family].pictures._asdict(), **told}
  size = config.size or pictures["size"] or found.fields.get("image_size", 224)
  crop, how = config.crop or pictures["crop"], pictures["interpolation"]
  views = {"mean": tuple(pictures["mean"]), "std": tuple(pictures["std"])}
  views |= {"size": size, "interpolation": how}
  c.augment = {**views, **c.augment.to_dict()}
  c.evals.crop = crop
  return c


def _with_head(
  arrays: dict[str, np.ndarray], head: pathlib.Path
) -> dict[str, np.ndarray]:
  """Puts a classifier's file beside an encoder's, named as DINOv2's hub has both."""
  classifier, _ = files.read(head)
  classifier = {k.removeprefix(LINEAR): x for k, x in classifier.items()}
  if classifier.keys() != {"weight", "bias"}:
    raise ConfigError(
      f"head={str(head)!r} must hold weight and bias, a linear classifier's, and has "
      f"{', '.join(sorted(classifier)[:3]) or 'nothing'}"
    )
  inside = {k if k.startswith(INSIDE) else INSIDE + k: x for k, x in arrays.items()}
  return inside | {LINEAR + k: x for k, x in classifier.items()}


def _write(
  c: ConfigDict,
  ours: dict,
  sizes: networks.Sizes,
  origin: dict,
  folder: pathlib.Path,
) -> None:
  """Writes the checkpoint of step 0."""
  recipe.check(c)
  plan = schedules.Plan(c.batch_size, c.batch_size, 1, 1, sizes.classes)
  parts = recipe.build(c, plan)
  spec = data.spec(data.Pictures(c.data.size))
  spec["image"] = (*spec["image"][0][:2], sizes.channels), spec["image"][1]
  if "text" in parts.method.needs_entries:
    spec["text"] = ((sizes.context,), "int32")
  expected = recipe.shapes(parts, data.zeros(spec, c.batch_size))
  collections = unflatten(ours)
  params, stats = collections["params"], collections["batch_stats"]
  state = TrainState(
    jnp.zeros((), jnp.int32),
    *jax.device_put((params, stats)),
    {},
    parts.tx.init(params),
  )
  if jax.tree.structure(state) != jax.tree.structure(expected):
    raise ConfigError("the weights are not those of the network that was built")
  meta = {
    "config": json.loads(c.to_json()),
    "data": {},
    "identity": {},
    "plan": plan._asdict(),
    "spec": spec,
    "lengths": (),
    "judged": True,
    "origin": origin,
  }
  with Checkpoints(folder, owned=True) as checkpoints:
    checkpoints.save(0, state, meta)
    checkpoints.wait()


def _tokenizer(
  c: ConfigDict, file: pathlib.Path, context: int
) -> data.Tokenizer | None:
  """Reads the tokenizer that texts of `context` ids are for, where one is named.

  It is data.tokenizer, or what lies in a folder of Hugging Face's. The config is told
  how many ids there are.
  """
  c.data.update(vocabulary=c.method.text.vocabulary, context=context)
  place = fields.as_path(c.data.tokenizer) if c.data.get("tokenizer") else file
  if place == file and not (file.is_dir() and data.find_tokenizer(file)):
    print(
      "No tokenizer is named, so texts cannot be read: --config.data.tokenizer= takes "
      "CLIP's bpe_simple_vocab_16e6.txt.gz, or a tokenizer.json"
    )
    return None
  padding = PADDING if c.method.text.get("read") == "last" else ""
  return data.Tokenizer.open(place, c.data.vocabulary, context, padding)


def _check_free(folder: pathlib.Path) -> None:
  """Raises ConfigError where a folder holds something that would be lost."""
  if (folder / ORIGIN).exists() or any(folder.glob("checkpoints/[0-9]*")):
    raise ConfigError(
      f"{folder} holds a run; name another --workdir, or delete that one"
    )


def _own(texts: dict[str, str]) -> dict[str, dict[str, Any]]:
  """Reads what ssljax wrote into a file beside its tensors; {}: another wrote it.

  An encoder's fields are held to their ranges where it is built, as all are.
  """
  try:
    said = json.loads(texts.get("ssljax", "{}"))
    encoder, pictures = dict(said["encoder"]), dict(said["pictures"])
    if encoder["name"].startswith(("resnet", "convnext", "swin", "vit")):
      colours = {k: tuple(map(float, pictures[k])) for k in ("mean", "std")}
      return {"encoder": encoder, "pictures": {**pictures, **colours}}
  except (ValueError, KeyError, TypeError, AttributeError):
    pass
  return {}


def _say(file: pathlib.Path, found: Found, c: ConfigDict, folder: pathlib.Path) -> None:
  known = {k: v for k, v in found.fields.items() if k != "name"}
  shown = ", ".join(f"{k}={v}" for k, v in known.items())
  print(f"{file} has the names of {found.family}: {c.encoder.name} ({shown})")
  if heads := sorted(found.method.keys() & nets.HEADS.keys()):
    print(f"On it: {', '.join(heads)}; it is a run of the method {c.method.name}.")
  if text := found.method.get("text"):
    told = ", ".join(f"{k}={v}" for k, v in text.items())
    print(f"Texts are read by a transformer ({told}): --config.text. changes that.")
  if found.left:
    print(f"{len(found.left)} tensors are no part of the network, and kept beside it.")
  a = c.augment
  print(
    f"Pictures: the central {c.evals.crop:.3g} of the shorter side to {a.size} pixels, "
    f"{a.interpolation}, mean {tuple(a.mean)}, std {tuple(a.std)}."
  )
  if found.also:
    others = ", ".join(found.also)
    print(
      f"The same names are those of {others}: --config.format= takes their numbers."
    )
  print(f"written to {folder}: --config.checkpoint={folder}")
