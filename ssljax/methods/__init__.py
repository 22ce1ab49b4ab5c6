"""Every method by its name in configs, in order of publication."""

import dataclasses
import typing
from collections.abc import Mapping

from ssljax import nets, schedules
from ssljax.core import Method
from ssljax.fields import check_choice, check_names
from ssljax.methods.byol import BYOL
from ssljax.methods.dino import DINO
from ssljax.methods.instdisc import InstDisc
from ssljax.methods.moco import MoCo
from ssljax.methods.simclr import SimCLR

METHODS: dict[str, type[Method]] = {
  "instdisc": InstDisc,
  "moco": MoCo,
  "simclr": SimCLR,
  "byol": BYOL,
  "dino": DINO,
}
FILLED = ("net", *schedules.Plan._fields)  # fields that no config sets


def check(config: Mapping) -> None:
  """ConfigError where the group `method` of a config names no method, or misnames,
  or lacks, one of its fields.
  """
  name = config.get("name")
  check_choice("method.name", name, METHODS)
  own = [f for f in dataclasses.fields(METHODS[name]) if f.name not in FILLED]
  needed = [f.name for f in own if f.default is dataclasses.MISSING]
  allowed = ("name", *(f.name for f in own), *nets.HEADS)
  check_names(f"method {name!r}", config, allowed, needed)


def build(config: Mapping, encoder, plan: schedules.Plan, dtype) -> Method:
  """A checked group `method` of a config, around an encoder -> the method.

  Heads become parts of its network; a field typed `Schedule` becomes a function of
  the step; a field that `Plan` knows (`num_examples`) is filled from it.
  """
  spec = dict(config)
  cls = METHODS[spec.pop("name")]
  heads = {
    role: nets.build_head(role, spec.pop(role), dtype)
    for role in nets.HEADS
    if role in spec
  }
  types = typing.get_type_hints(cls)
  for field in dataclasses.fields(cls):
    if field.name in plan._fields:
      spec[field.name] = getattr(plan, field.name)
    elif types[field.name] == schedules.Schedule and field.name in spec:
      spec[field.name] = schedules.build(spec[field.name], plan)
  return cls(net=nets.Network(encoder, **heads), **spec)
