"""Every method by its name in configs, in order of publication."""

import dataclasses
import typing

from ssljax import nets, schedules
from ssljax.core import Method
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
HEADS = {"projector": "mlp", "predictor": "mlp", "prototypes": "prototypes"}


def allowed_fields(name: str) -> set[str]:
  """What the group `method` of a config may hold besides `name`."""
  own = {f.name for f in dataclasses.fields(METHODS[name])}
  return (own - {"net", *schedules.Plan._fields}) | HEADS.keys()


def build(config, encoder, plan: schedules.Plan, dtype) -> Method:
  """The group `method` of a config, around an encoder -> the method.

  Heads become parts of its network; a field typed `Schedule` becomes a function of
  the step; a field that `Plan` knows (`num_examples`) is filled from it. ValueError
  names a field that is missing.
  """
  spec = {k: v for k, v in config.items() if k != "name"}
  heads = {
    head: nets.build_head({"name": kind, **spec.pop(head)}, dtype)
    for head, kind in HEADS.items()
    if head in spec
  }
  cls = METHODS[config.name]
  types = typing.get_type_hints(cls)
  for field in dataclasses.fields(cls):
    if field.name in plan._fields:
      spec[field.name] = getattr(plan, field.name)
    elif field.name != "net" and field.name not in spec:
      if field.default is dataclasses.MISSING:
        raise ValueError(f"method {config.name!r} needs the field method.{field.name}")
    elif types[field.name] == schedules.Schedule:
      spec[field.name] = schedules.build(spec[field.name], plan)
  return cls(net=nets.Network(encoder, **heads), **spec)
