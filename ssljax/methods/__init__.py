"""Every method by its name in configs, in order of publication."""

import collections
import dataclasses
import typing
from collections.abc import Mapping

from ssljax import nets, schedules
from ssljax.core import Method
from ssljax.fields import ConfigError, check_choice, check_names
from ssljax.methods.barlow import BarlowTwins
from ssljax.methods.byol import BYOL
from ssljax.methods.clip import CLIP
from ssljax.methods.cmc import CMC
from ssljax.methods.cpc import AudioCPC, ImageCPC, TextCPC
from ssljax.methods.dcl import DCL
from ssljax.methods.dino import DINO
from ssljax.methods.distill import Distill
from ssljax.methods.instdisc import InstDisc
from ssljax.methods.invaspread import InvaSpread
from ssljax.methods.linear_probe import LinearProbe
from ssljax.methods.mae import MAE
from ssljax.methods.metric_learning import MetricLearning
from ssljax.methods.moco import MoCo
from ssljax.methods.moco_v3 import MoCoV3
from ssljax.methods.nnclr import NNCLR
from ssljax.methods.simclr import SimCLR
from ssljax.methods.simclr_v2 import SimCLRV2
from ssljax.methods.simsiam import SimSiam
from ssljax.methods.supcon import SupCon, SupConMoCo
from ssljax.methods.supervised import Supervised
from ssljax.methods.swav import SwAV
from ssljax.methods.tico import TiCo
from ssljax.methods.vicreg import VICReg
from ssljax.methods.wmse import WMSE

METHODS: dict[str, type[Method]] = {
  "supervised": Supervised,
  "metric_learning": MetricLearning,  # from Hadsell et al. 2006 on
  "instdisc": InstDisc,
  "cpc_image": ImageCPC,
  "cpc_audio": AudioCPC,
  "cpc_text": TextCPC,
  "invaspread": InvaSpread,
  "cmc": CMC,
  "moco": MoCo,
  "simclr": SimCLR,
  "supcon": SupCon,
  "supcon_moco": SupConMoCo,
  "byol": BYOL,
  "simclr_v2": SimCLRV2,
  "distill": Distill,
  "swav": SwAV,
  "simsiam": SimSiam,
  "clip": CLIP,
  "moco_v3": MoCoV3,
  "barlow": BarlowTwins,
  "dino": DINO,
  "nnclr": NNCLR,
  "wmse": WMSE,
  "vicreg": VICReg,
  "tico": TiCo,
  "dcl": DCL,
  "mae": MAE,
}
PROBES = {"linear_probe": LinearProbe}  # started by protocols, on a run's encoder
KNOWN = collections.ChainMap(METHODS, PROBES)
FILLED = ("net", *schedules.Plan._fields)  # fields that no config sets


def check(config: Mapping) -> None:
  """ConfigError where the group `method` of a config names no method, or misnames,
  or lacks, one of its fields.
  """
  name = config.get("name")
  check_choice("method.name", name, KNOWN)
  cls = KNOWN[name]
  own = [f for f in dataclasses.fields(cls) if f.name not in FILLED]
  needed = [f.name for f in own if f.default is dataclasses.MISSING]
  allowed = ("name", *(f.name for f in own), *_heads(_network(cls)))
  check_names(f"method {name!r}", config, allowed, needed)


def build(config: Mapping, encoder, plan: schedules.Plan, dtype) -> Method:
  """A checked group `method` of a config, around an encoder -> the method.

  Heads become parts of its network, whose class is the type of the field `net`. A
  field typed `Schedule` becomes a function of the step, one typed `Network` a second
  network, one typed `Method` a second method, out of its own `encoder`, `method` and
  `plan`; a field of method or head that `Plan` knows (`num_examples`, `num_classes`)
  is filled from it.
  """
  spec = dict(config)
  cls = KNOWN[spec.pop("name")]
  heads = {role: spec.pop(role) for role in _heads(_network(cls)) if role in spec}
  types = typing.get_type_hints(cls)
  for name, value in spec.items():
    if types[name] == schedules.Schedule:
      spec[name] = schedules.build(value, plan)
    elif types[name] == Method:
      second = nets.build(value["encoder"], dtype)
      known = schedules.Plan(**value["plan"])
      spec[name] = build(value["method"], second, known, dtype)
    elif types[name] == nets.Network:
      own = dict(value)
      second = nets.build(own.pop("encoder", {}), dtype)
      spec[name] = _assemble(nets.Network, second, own, plan, dtype)
  net = _assemble(_network(cls), encoder, heads, plan, dtype)
  method = cls(net=net, **spec, **_known(cls, plan))
  if method.needs_labels and not plan.num_classes:
    without = ", or set method.labels=False" if "labels" in spec else ""
    raise ConfigError(
      f"method.name={config['name']!r} learns from labels, and the data has none; "
      f"name labelled data in data.name and data.dir{without}"
    )
  return method


def _assemble(network: type, encoder, heads: Mapping, plan: schedules.Plan, dtype):
  """Encoder and the configs of its heads -> network."""
  check_names(f"a {network.__name__}", heads, _heads(network))
  if "classifier" in heads and not plan.num_classes:
    raise ConfigError("method.classifier needs labels, and the data has none")
  return network(
    encoder,
    **{
      role: nets.build_head(role, {**head, **_known(nets.HEADS[role], plan)}, dtype)
      for role, head in heads.items()
    },
  )


def _network(cls: type[Method]) -> type:
  """The type of the field `net`; where a method says nothing, encoder and heads."""
  network = typing.get_type_hints(cls)["net"]
  return nets.Network if network == typing.get_type_hints(Method)["net"] else network


def _heads(network: type) -> list[str]:
  """What a config may put on the encoder."""
  return [f.name for f in dataclasses.fields(network) if f.name in nets.HEADS]


def _known(cls: type, plan: schedules.Plan) -> dict[str, int]:
  """The fields of a class that are facts of the run."""
  own = {f.name for f in dataclasses.fields(cls)}
  return {k: v for k, v in plan._asdict().items() if k in own}
