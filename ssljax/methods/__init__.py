"""Every method by its name in configs, in order of publication."""

import collections
import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated

from ssljax import fields, nets, schedules
from ssljax.core import Method
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import OneOf
from ssljax.methods.barlow import BarlowTwins
from ssljax.methods.byol import BYOL
from ssljax.methods.clip import CLIP
from ssljax.methods.cmc import CMC
from ssljax.methods.cpc import AudioCPC, ImageCPC, TextCPC
from ssljax.methods.data2vec import Data2Vec
from ssljax.methods.dcl import DCL
from ssljax.methods.densecl import DenseCL
from ssljax.methods.dino import DINO
from ssljax.methods.dinov2 import DINOv2
from ssljax.methods.dinov3 import DINOv3
from ssljax.methods.direct_pred import DirectPred
from ssljax.methods.distill import Distill
from ssljax.methods.given import Given
from ssljax.methods.ibot import IBOT
from ssljax.methods.ijepa import IJEPA
from ssljax.methods.instdisc import InstDisc
from ssljax.methods.invaspread import InvaSpread
from ssljax.methods.lejepa import LeJEPA
from ssljax.methods.linear_probe import LinearProbe
from ssljax.methods.mae import MAE
from ssljax.methods.metric_learning import MetricLearning
from ssljax.methods.moco import MoCo
from ssljax.methods.moco_v3 import MoCoV3
from ssljax.methods.msn import MSN
from ssljax.methods.nnclr import NNCLR
from ssljax.methods.ressl import ReSSL
from ssljax.methods.simclr import SimCLR
from ssljax.methods.simclr_v2 import SimCLRV2
from ssljax.methods.simdino import SimDINO, SimDINOv2
from ssljax.methods.simmim import SimMIM
from ssljax.methods.simsiam import SimSiam
from ssljax.methods.supcon import SupCon, SupConMoCo
from ssljax.methods.supervised import Supervised
from ssljax.methods.swav import SwAV
from ssljax.methods.tico import TiCo
from ssljax.methods.vicreg import VICReg
from ssljax.methods.vicregl import VICRegL
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
  "direct_pred": DirectPred,
  "dino": DINO,
  "densecl": DenseCL,
  "nnclr": NNCLR,
  "ressl": ReSSL,
  "wmse": WMSE,
  "vicreg": VICReg,
  "tico": TiCo,
  "data2vec": Data2Vec,
  "dcl": DCL,
  "mae": MAE,
  "simmim": SimMIM,
  "ibot": IBOT,
  "msn": MSN,
  "vicregl": VICRegL,
  "ijepa": IJEPA,
  "dinov2": DINOv2,
  "simdino": SimDINO,
  "simdinov2": SimDINOv2,
  "dinov3": DINOv3,
  "lejepa": LeJEPA,
}
PROBES = {  # started by commands on what is there: a run's encoder, a file of weights
  "linear_probe": LinearProbe,
  "given": Given,
}
KNOWN = collections.ChainMap(METHODS, PROBES)
FILLED = ("net", *schedules.Plan._fields)  # fields that no config sets


def declare(config: Mapping) -> list[Group]:
  """Lists the fields of the group `method` of a config, and of its networks."""
  group = fields.chosen("method", config, KNOWN, skip=FILLED)
  cls = KNOWN[config["name"]]
  heads = _heads(_network(cls))
  types = typing.get_type_hints(cls)
  judged = [k for k in group.fields if types.get(k) == Method]  # a protocol sets it
  group = _with_heads(fields.with_groups(group, judged, nets.SOURCE), heads)
  second = [k for k in config if k != "net" and types.get(k) == nets.Network]
  return [group, *_declare_heads("method", config, heads)] + [
    part for name in second for part in _declare_network(f"method.{name}", config[name])
  ]


def check(config: Mapping) -> None:
  """Raises ConfigError where the group `method` of a config cannot be built."""
  for group in declare(config):
    fields.check(group, fields.at({"method": config}, group.path))


def _declare_network(path: str, config: Mapping) -> list[Group]:
  heads = _heads(nets.Network)
  group = Group(path, path, {})
  return [
    _with_heads(fields.with_groups(group, ["encoder"], nets.SOURCE), heads),
    nets.declare(config.get("encoder", {}), f"{path}.encoder"),
    *_declare_heads(path, config, heads),
  ]


def _with_heads(group: Group, heads: list[str]) -> Group:
  """Adds to a group its heads: groups too, or the name of the head that it shares."""
  group = fields.with_groups(group, heads, nets.SOURCE)
  shared = {
    head: group.fields[head]._replace(
      hint=Mapping | Annotated[str, OneOf((nets.SHARED[head],))]
    )
    for head in heads
    if head in nets.SHARED
  }
  return group._replace(fields={**group.fields, **shared})


def _declare_heads(path: str, config: Mapping, heads: list[str]) -> list[Group]:
  own_heads = [head for head in heads if not isinstance(config.get(head, ""), str)]
  return [nets.declare_head(head, path) for head in own_heads]


def build(config: Mapping, encoder, plan: schedules.Plan, dtype) -> Method:
  """Builds the method that the checked group `method` of a config names, on an encoder.

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
      second_encoder = nets.build(value["encoder"], dtype)
      method_plan = schedules.Plan(**value["plan"])
      spec[name] = build(value["method"], second_encoder, method_plan, dtype)
    elif types[name] == nets.Network:
      head_configs = dict(value)
      second_encoder = nets.build(head_configs.pop("encoder", {}), dtype)
      spec[name] = _assemble(nets.Network, second_encoder, head_configs, plan, dtype)
  for role in cls.needs_heads:
    if role not in heads:
      raise ConfigError(
        f"method {config['name']!r} needs the head method.{role}; ssljax/nets/heads.py "
        "lists the published ones and their fields"
      )
  net = _assemble(_network(cls), encoder, heads, plan, dtype)
  method = cls(net=net, **spec, **_known(cls, plan))
  if method.needs_labels and not plan.num_classes:
    without = ", or set method.labels=False" if "labels" in spec else ""
    raise ConfigError(
      f"method.name={config['name']!r} learns from labels, and the data has none; "
      f"name labelled data in data.name and data.dir{without}"
    )
  drop = getattr(encoder, "token_drop", 0)
  if drop and not method.keyed:
    raise ConfigError(
      f"encoder.token_drop={drop}: method {config['name']!r} draws nothing for its "
      "encoder; set it to 0"
    )
  return method


def _assemble(network: type, encoder, heads: Mapping, plan: schedules.Plan, dtype):
  """Builds a network of an encoder and the heads that a config names."""
  fields.check_names(f"a {network.__name__}", heads, _heads(network))
  if "classifier" in heads and not plan.num_classes:
    raise ConfigError("method.classifier needs labels, and the data has none")
  return network(
    encoder,
    **{
      role: head
      if isinstance(head, str)
      else nets.build_head(role, head, dtype, **_known(nets.HEADS[role], plan))
      for role, head in heads.items()
    },
  )


def _network(cls: type[Method]) -> type:
  """Returns the type of a method's field `net`; default: encoder and heads."""
  network = typing.get_type_hints(cls)["net"]
  return nets.Network if network == typing.get_type_hints(Method)["net"] else network


def _heads(network: type) -> list[str]:
  """Lists the heads that a config may put on the encoder of such a network."""
  return [f.name for f in dataclasses.fields(network) if f.name in nets.HEADS]


def _known(cls: type, plan: schedules.Plan) -> dict[str, int]:
  """Returns the fields of a method that are facts of the run, with their values."""
  field_names = {f.name for f in dataclasses.fields(cls)}
  return {k: v for k, v in plan._asdict().items() if k in field_names}
