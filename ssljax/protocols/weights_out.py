"""A run's encoder as a file of weights, under the names of another program."""

import dataclasses
import json
import pathlib
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ssljax import augment, core, data, encoder, fields, html, nets, runs, sharding
from ssljax.encoder import Trained
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import Number, OneOf
from ssljax.nets import positions, vit
from ssljax.protocols import model_card, onnx_out
from ssljax.protocols.weights_in import ORIGIN, REST
from ssljax.weights import FAMILIES, files, flatten, hub, members
from ssljax.weights.forms import SCALED
from ssljax.weights.tables import ENCODER, Form, Pictures, Places, to_theirs

MASK = "encoder/mask"  # only learned to be replaced; a family may have no name for it
# Fields of which an encoder's arrays say nothing, and that a family has or has not.
UNLIKE = {
  **{"position": vit.BARE, "key_bias": (False,), "class_token": (False,)},
  **{"padding": ("same", "fixed"), "blurred": (True,)},
}
DEFAULT = "safetensors"  # torchvision's names, or timm's
ONNX = "onnx"  # a graph, which has no names
NOTED = ("epsilon", "activation", "resize", "pool", "stem", "stem_relu")
TRAINING = (  # fields of an encoder by which it learns, not what it is
  *("stop_grad_patch", "drop_path", "remat", "attention", "start", "stem_start"),
  *("drop_path_uniform", "init_std", "token_drop"),
  *("zero_init_gamma", "bn_group_size", "bn_strided", "position", "image_size"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
  """The fields of a saving's config."""

  evaluator: str  # "save_weights"
  checkpoint: str  # a run's folder
  step: Number = 0  # of its checkpoint; 0: the newest
  format: str = DEFAULT  # a family, or how several begin: hf; or onnx
  input: Annotated[str, OneOf(onnx_out.INPUTS)] = "uint8"  # of onnx: what it takes
  file: str  # to write; of hf a folder


class Chosen(NamedTuple):
  """Under whose names an encoder is written."""

  family: str
  form: Form
  prefix: str
  places: Places  # of arrays that have a name there


def declare(_: ConfigDict) -> list[Group]:
  """Lists the groups of a saving's config, which is one."""
  return [Group("", "the config", fields.declared(Saving))]


def evaluate(config: ConfigDict, out: str | pathlib.Path | None = None) -> dict:
  """Writes the encoder of config.checkpoint to config.file -> {}.

  What came out of a file of the same family goes back with all that lay beside it.
  ConfigError where the family has no names for what the encoder holds.
  """
  fields.check(*declare(config), config)
  if config.input != "uint8" and config.format != ONNX:
    raise ConfigError(f"input={config.input!r} is of format='onnx' alone")
  for name in ("checkpoint", "file"):
    if not config[name]:
      raise ConfigError(f"config.{name} is empty; set it by --config.{name}=...")
  run, file = fields.as_path(config.checkpoint), fields.as_path(config.file)
  _check_file(file, config.format)
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  trained = encoder.restore(run, mesh, config.step)
  net = trained.parts.method.net.encoder if "encoder" in trained.state.params else None
  if net is None or trained.parts.method.input != "image":
    raise ConfigError(f"checkpoint={str(run)!r} has no single encoder of pictures")
  is_origin = (run / ORIGIN).exists() and not int(trained.state.step)
  origin = html.results.load(run / ORIGIN) if is_origin else {}
  ours = _arrays(trained)
  says = {
    k: v
    for k, v in vars(net).items()
    if k in nets.declare(trained.config.encoder).fields
  }
  pictures = _pictures(trained.config)
  own = {k: v for k, v in says.items() if k not in (*TRAINING, "dtype", "block")}
  own["name"] = trained.config.encoder.name
  wrote = {"encoder": own, "pictures": pictures._asdict()}
  if config.format == ONNX:
    texts = {
      k: json.dumps(v) for k, v in {"ssljax": wrote, **wrote["pictures"]}.items()
    }
    with runs.writing(file.parent):
      off = onnx_out.write(file, trained, config.input, texts)
    print(
      f"ONNX Runtime's features are within {off:.1e} of their scale of load_encoder's: "
      f"written to {file}"
    )
    return {}
  if says.get("position", "learned") not in ("learned", *vit.BARE):
    table = _table(says, pictures.size)
    ours["encoder/position"], says["image_size"] = table, pictures.size
  chosen = choose(config.format, ours, says, origin)
  heads = _heads(trained.parts.method.net, chosen)
  _check_texts(run, heads)
  arrays = write_names(ours, says, chosen)
  if origin.get("format") == chosen.family:
    arrays |= files.read(run / REST)[0]
  else:
    made = chosen.form.buffers(says)
    arrays |= _counted(arrays) | {chosen.prefix + k: x for k, x in made.items()}
  texts = {"ssljax": json.dumps({**wrote, "heads": heads})}
  target = file / "model.safetensors" if is_folder(chosen.family) else file
  with runs.writing(target.parent):
    files.write(target, arrays, texts)
    if target != file:
      shapes = {k: x.shape for k, x in ours.items()}
      config = hub.config_of(chosen.family, says, heads, shapes)
      _write_json(file / hub.CONFIG, config)
      tokenizer = data.find_tokenizer(run) if "text" in heads else None
      if tokenizer:
        runs.write(file / tokenizer.name, tokenizer.read_text("utf-8"))
      _write_json(file / hub.PICTURES, hub.pictures_of(pictures))
      runs.write(file / hub.CARD, model_card.write(trained, run, origin))
  assumed = {**_defaults(net), **chosen.form.fields, **chosen.form.adapt(says)}
  parts = {k.partition("/")[0] for k in ours}
  if left := sorted(parts - {k.partition("/")[0] for k in chosen.places}):
    print(f"Left out, as {chosen.family} has no names for it: {', '.join(left)}.")
  for name in NOTED:
    if says.get(name) != assumed.get(name):
      print(f"Its {name} is {says[name]}, where {chosen.family} has {assumed[name]}.")
  print(f"{len(arrays)} tensors, named as {chosen.family}'s: written to {file}")
  return {}


def _check_file(file: pathlib.Path, format: str) -> None:
  """Raises ConfigError where what `format` writes is not called as `file` is."""
  if format == ONNX or not (members(format) or format == DEFAULT):
    return  # the graph's writer says it, or `choose`
  if is_folder(format):
    if file.is_file() or file.suffix in (*files.ENDINGS, f".{ONNX}"):
      raise ConfigError(
        f"file={str(file)!r} is a file's name, and format={format!r} writes a folder: "
        f"try --config.file={file.with_suffix('')}"
      )
    return
  endings = [x for x in files.WRITERS if x != ".pkl" or format == "detectron2"]
  if file.suffix not in endings:
    raise ConfigError(
      f"file={str(file)!r} must end in one of {', '.join(endings)}, as format="
      f"{format!r} writes a file"
    )


def is_folder(name: str) -> bool:
  """Whether a format, or a family, is written as a folder: Hugging Face's."""
  return name == "hf" or name.startswith("hf_")


def choose(
  format: str, ours: dict[str, Any], says: dict[str, Any], origin: dict[str, Any]
) -> Chosen:
  """Chooses the family and the form that have a name for every array of `ours`."""
  if format == DEFAULT:
    format = "timm" if "encoder/patch/kernel" in ours else "torchvision"
  families = members(format)
  if not families:
    fields.check_choice("format", format, [DEFAULT, "hf", ONNX, *FAMILIES])
  best, least = None, ("", 10**9)
  for family in families:
    forms = FAMILIES[family].forms
    if origin.get("format") == family:
      forms = forms[origin["form"] :][:1]
    for form in forms:
      prefix = origin if origin.get("format") == family else {}
      prefix = prefix.get("prefix", FAMILIES[family].prefixes[0])
      inside = FAMILIES[family].inside
      places = {name: form.place(name, prefix, inside) for name in ours}
      nameless = [k for k, place in places.items() if place is None]
      without = [k for k in nameless if k.startswith(ENCODER) and k != MASK]
      without += [
        f"{k}={says.get(k)!r}"
        for k, which in UNLIKE.items()
        if any((says.get(k) == v) != (form.fields.get(k) == v) for v in which)
      ]
      unlike = sum(says.get(k, v) != v for k, v in form.fields.items())
      pool = form.fields.get("pool")
      unlike += 50 * (pool in vit.READ and says.get("pool") != pool)  # a classifier's
      unlike += 50 * any(ENCODER + name not in ours for name in form.always)
      score = 100 * len(without) + unlike + (len(without) < len(nameless))
      if score < least[1]:
        best = Chosen(family, form, prefix, _whole(places))
        least = ", ".join(without[:3]), score
  if least[0]:
    raise ConfigError(
      f"format={format!r} has no names for the encoder's {least[0]}; docs/weights.md "
      "lists which family holds what"
    )
  return best


def _whole(places: dict[str, Any]) -> Places:
  """Leaves out heads of which an array has no name there."""
  partial = {k.partition("/")[0] for k, place in places.items() if place is None}
  return {
    k: place
    for k, place in places.items()
    if place and (k.startswith(ENCODER) or k.partition("/")[0] not in partial)
  }


def write_names(
  ours: dict[str, np.ndarray], says: dict[str, Any], chosen: Chosen
) -> dict[str, np.ndarray]:
  """Lays out arrays of ours as theirs, by their names."""
  ours = dict(ours)
  position = chosen.places.get("encoder/position")
  if position and position.layout == "no_class":
    table = ours["encoder/position"]
    if table[:, 0].any():  # that of the class token joins the token
      ours["encoder/cls"] = ours["encoder/cls"] + table[:, :1]
  arrays = {}
  for name, place in chosen.places.items():
    for theirs, x in to_theirs(ours[name], place).items():
      arrays[theirs] = np.array(x, order="C")
  if chosen.form.always == SCALED and not says["layer_scale"]:
    for i in range(says["depth"]):
      for name in (f"encoder/block{i}/scale1", f"encoder/block{i}/scale2"):
        (theirs,) = chosen.form.place(name, chosen.prefix, "").theirs
        arrays[theirs] = np.ones(says["width"], np.float32)
  return arrays


def _arrays(trained: Trained) -> dict[str, np.ndarray]:
  judged = trained.judged
  params = core.without_probe(judged.params)
  collections = {"params": params, "batch_stats": judged.batch_stats or {}}
  flat = flatten(jax.device_get(collections))
  return {k: np.asarray(x, np.float32) for k, x in flat.items()}


def _heads(net: Any, chosen: Chosen) -> dict[str, dict]:
  """Reads the fields of the heads that are written, by role."""
  roles = {k.partition("/")[0] for k in chosen.places} & nets.HEADS.keys()
  return {
    role: {k: vars(getattr(net, role))[k] for k in nets.declare_head(role).fields}
    for role in sorted(roles)
  }


def _check_texts(run: pathlib.Path, heads: dict[str, dict]) -> None:
  """Raises ConfigError where others would read a text off another token than ours."""
  if heads.get("text", {}).get("read") != "end" or not data.find_tokenizer(run):
    return
  start_and_end = data.Tokenizer.load(run).encode([""])[0]
  end, last = start_and_end.max(), heads["text"]["vocabulary"] - 1
  if end != last:
    raise ConfigError(
      f"texts of {run} end with the id {end}; CLIP's code reads them off the largest, "
      f"{last}: only a run with CLIP's tokenizer goes out, data.tokenizer"
    )


def _pictures(c: ConfigDict) -> Pictures:
  view = augment.configure(c.augment)
  how = c.evals.get("interpolation", "") or view.views[0].interpolation
  return Pictures(view.mean, view.std, view.views[0].size, c.evals.crop, how)


def _table(says: dict[str, Any], size: int) -> np.ndarray:
  """Makes the fixed positions [1,1+N,D] that an encoder has for pictures of `size`.

  Those of an encoder without a class token are [1,N,D].
  """
  side, first = size // says["patch_size"], says["position"] == "sincos_columns"
  table = positions.sincos(side, side, says["width"], column_first=first)
  of_class = int(says.get("class_token", True))
  return np.pad(np.asarray(table), ((of_class, 0), (0, 0)))[None]


def _counted(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Makes what PyTorch's BatchNorm holds besides: how many batches it has seen."""
  ending = "running_mean"
  names = (k.removesuffix(ending) for k in arrays if k.endswith(ending))
  return {f"{name}num_batches_tracked": np.zeros((), np.int64) for name in names}


def _defaults(net: Any) -> dict[str, Any]:
  return {k: f.default for k, f in fields.declared(type(net)).items()}


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  runs.write(path, json.dumps(content, indent=2) + "\n")
