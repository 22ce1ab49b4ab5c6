"""From a config to the parts of a run; whatever is wrong with it is said here."""

import dataclasses
import math
import pathlib
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import (
  augment,
  core,
  data,
  diagnostics,
  evals,
  fields,
  methods,
  nets,
  optim,
  schedules,
  sharding,
)
from ssljax.augment import image
from ssljax.augment.stages import stages
from ssljax.core import Method, TrainState
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import (
  Count,
  NotNegative,
  Number,
  OneOf,
  Positive,
  Range,
  Seed,
  Share,
)
from ssljax.methods.probe import OnlineProbe
from ssljax.parts import Parts, Traced
from ssljax.schedules import MOST_STEPS

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
GROUPS = (
  *("data", "augment", "encoder", "method", "optimizer"),
  *("pretrained", "checkpoint", "evals"),
)
SOURCE = "ssljax/recipe.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """The fields of a run's config that are in no group."""

  seed: Seed
  batch_size: Count  # global, whatever the machine
  epochs: Positive
  steps: Annotated[int, Range(1, MOST_STEPS)] | None  # when set, wins over epochs
  dtype: Annotated[str, OneOf(DTYPES)]  # of compute
  steps_per_dispatch: Number  # 0: as many as make short steps worth it, as measured
  microbatch: Number = 0  # examples that pass the networks at once; 0: the batch
  split_state: Number = 0  # numbers from which an array is split over devices; 0: none
  resolution: tuple[tuple[Share, Count], ...] = ()  # (until, pixels) of smaller views
  log_every: Count  # steps
  profile: tuple[Number, Count] | None = None  # (after which step, how many) are traced
  watch: tuple[str, ...]  # paths of parameters whose gradient's norm is logged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """The group `pretrained`: another run to start from."""

  checkpoint: str  # its folder; "": none
  step: Number  # of its checkpoint; 0: the newest
  into: Annotated[str, OneOf(("params", "teacher", "base"))]
  take: tuple[str, ...]  # paths of the parameters taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
  """The group `checkpoint`: how often a run is saved, and how many are kept."""

  every_steps: Count
  keep: Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evals:
  """The group `evals`; the numbers of evaluators are groups in it."""

  every_epochs: Number  # kNN during the run; 0: only at the end
  at_end: tuple[Annotated[str, OneOf(evals.EVALUATORS)], ...]
  crop: Annotated[float, Range(above=0, high=1)]  # of the shorter side
  interpolation: Annotated[str, OneOf(("", *image.FILTERS))] = ""  # "": as the views


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probing:
  """The group `evals.probe`: the classifier that learns beside the method."""

  learning_rate: NotNegative  # 0: no online probe


def check(config: ConfigDict) -> None:
  """Raises ConfigError on an unknown field, a wrong type or an impossible value.

  Looks at the config alone; what depends on the data or the machine is found by
  `build` and `trace`, still before anything compiles.
  """
  for group in declare(config):
    fields.check(group, fields.at(config, group.path))
  optim.check(config.optimizer)
  augment.configure(config.augment)
  part = config.get("microbatch", 0)
  if part and config.batch_size % part:
    raise ConfigError(
      f"microbatch={part} must divide batch_size={config.batch_size}; try "
      f"{math.gcd(part, config.batch_size)}"
    )
  least = methods.KNOWN[config.method.name].least_batch
  if config.batch_size < least:
    raise ConfigError(
      f"batch_size={config.batch_size} must be at least {least}: method "
      f"{config.method.name!r} compares the examples of a batch"
    )


def declare(config: ConfigDict) -> list[Group]:
  """Lists every group of a run's config with the fields that may stand there."""
  encoder = nets.declare(fields.at(config, "encoder"))
  return [*declare_training(config), encoder, data.declare(fields.at(config, "data"))]


def declare_training(config: ConfigDict) -> list[Group]:
  """Lists a run's groups but data and encoder, which a probe takes from a run."""
  run = Group("", "the config", fields.declared(Run))
  evaluated = Group("evals", "evals", fields.declared(Evals))
  numbers = "knn", "probe", "few_label"
  evaluators = {name: evals.EVALUATORS[name] for name in ("knn", "few_label")}
  return [
    fields.with_groups(run, GROUPS, SOURCE),
    augment.declare(fields.at(config, "augment")),
    *methods.declare(fields.at(config, "method")),
    optim.declare(fields.at(config, "optimizer")),
    Group("pretrained", "pretrained", fields.declared(Pretrained)),
    Group("checkpoint", "checkpoint", fields.declared(Saving)),
    fields.with_groups(evaluated, numbers, SOURCE),
    Group("evals.probe", "evals.probe", fields.declared(Probing)),
    *(
      Group(f"evals.{name}", f"evals.{name}", fields.declared(evaluators[name]))
      for name in evaluators
    ),
  ]


def make_plan(
  config: ConfigDict, num_examples: int, num_classes: int = 0
) -> schedules.Plan:
  """Computes how many steps a run takes; `steps` wins over `epochs`.

  `num_classes` is 0 for unlabelled data; then there is no online probe.
  """
  if config.batch_size > num_examples:
    raise ConfigError(
      f"batch_size={config.batch_size} is larger than the {num_examples} pictures of "
      f"data.name={config.data.name}; set batch_size to {num_examples} or less"
    )
  steps_per_epoch = num_examples // config.batch_size
  steps = config.steps or config.epochs * steps_per_epoch
  if steps > MOST_STEPS:
    raise ConfigError(
      f"epochs={config.epochs:g} are more than {MOST_STEPS:,} steps, as many as a run "
      "may have; set fewer"
    )
  total = math.ceil(round(steps, 6))  # 2.2 epochs of 25 are 55.00000000000001
  if config.get("profile") and sum(config.profile) > total:
    raise ConfigError(
      f"profile={tuple(config.profile)} ends after the run's {total} steps; try "
      f"{(max(total - config.profile[1], 0), min(config.profile[1], total))}"
    )
  return schedules.Plan(
    config.batch_size, num_examples, steps_per_epoch, total, num_classes
  )


def check_devices(config: ConfigDict, count: int) -> None:
  """Raises ConfigError unless the batch divides over `count` devices."""
  for field in ("batch_size", "microbatch"):
    size = config.get(field, 0)
    if size % count:
      raise ConfigError(
        f"{field}={size} must be a multiple of the {count} devices; try "
        f"{max(1, size // count) * count}"
      )


def open_data(config: ConfigDict, run: pathlib.Path | None = None) -> data.Splits:
  """Opens the data that the group `data` names -> the splits to train and judge on.

  `run` is the folder of a run that goes on or is judged, None that of a new one.
  """
  return data.build(config.data, run)


def build(config: ConfigDict, plan: schedules.Plan) -> Parts:
  """Builds the parts of a run from a checked config and the facts of its data."""
  dtype = DTYPES[config.dtype]
  if jax.default_backend() == "cpu":  # has no bfloat16 products that sum in float32
    dtype = jnp.float32
  encoder = nets.build(config.encoder, dtype)
  method = methods.build(config.method, encoder, plan, dtype)
  views = augment.build(config.augment)
  crop_and_filter = config.evals.crop, config.evals.get("interpolation", "")
  eval_views = augment.build(augment.evaluation(config.augment, *crop_and_filter))
  tx = optim.build(config.optimizer, plan, encoder.layers)
  rates = optim.rates(config.optimizer, plan)
  watch = diagnostics.watch(config.watch)
  _check_views(config, method)
  probe, rate = None, config.evals.probe.learning_rate
  if rate and plan.num_classes:
    probe = OnlineProbe(plan.num_classes)
    adam = optim.build({"name": "adamw", "learning_rate": rate}, plan)
    tx = optim.partition({"^probe/": adam}, tx)
  part = config.get("microbatch", 0)
  seed, part = config.seed, 0 if part == config.batch_size else part
  if part and method.undivided:
    raise ConfigError(
      f"microbatch={part}: method {config.method.name!r} cannot be encoded in parts: "
      f"{method.undivided}, or set microbatch=0"
    )
  early = stages(config.augment, config.get("resolution", ()), plan.total_steps)
  rest = probe, part, config.get("split_state", 0), early
  return Parts(method, tx, views, eval_views, rates, watch, seed, *rest)


def _check_views(config: ConfigDict, method: Method) -> None:
  augmentation = augment.configure(config.augment)
  mask, patch_size = augmentation.mask, config.encoder.get("patch_size", 16)
  if augmentation.hides and mask.patch_size != patch_size:
    raise ConfigError(
      f"augment.patch_size={mask.patch_size} must be that of the encoder, {patch_size}"
    )
  for entry, (field, number) in augmentation.extras.items():
    if number and entry not in method.reads:
      raise ConfigError(
        f"augment.{field}={number}: method {config.method.name!r} does not read "
        f"{entry!r} of the views; set it to 0"
      )
    if not number and entry in method.reads and entry != "local":
      needs = "sees crops larger" if entry == "larger" else "hides patches"
      raise ConfigError(
        f"augment.{field}=0: method {config.method.name!r} {needs}; set it as in its "
        "own recipe"
      )
  num_views = len(augmentation.views)
  if method.num_views and num_views != method.num_views:
    fitting = [
      k for k, r in augment.RECIPES.items() if len(r.views) == method.num_views
    ]
    raise ConfigError(
      f"augment.recipe={config.augment.recipe!r} gives {num_views} views of a picture "
      f"and method {config.method.name!r} takes {method.num_views}; choose from "
      f"{', '.join(fitting)}"
    )


def trace(parts: Parts, batch: core.Batch, mesh: Mesh | None = None) -> Traced:
  """Traces a run's first state and its step; finds what does not fit, compiles nothing.

  What runs on a `mesh` must be traced for it, or JAX does so again.

  ConfigError where a number does not fit the data or another number; what is raised
  by a method's own mistake stays what it is.
  """
  for entry in (parts.method.input, *parts.method.needs_entries):
    if entry not in batch:
      raise ConfigError(
        f"the method learns from {entry!r}, and an example of the data has "
        f"{', '.join(batch)}; name other data in data.name, captions in data.captions"
      )
  init, step = (jax.jit(f, inline=True) for f in (parts.init, parts.step))
  state = jax.eval_shape(init, batch)
  on_mesh = sharding.replicated(mesh) if mesh else None
  shaped = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on_mesh)  # noqa: E731
  traced = step.trace(*jax.tree.map(shaped, (state, batch)))
  after, _ = traced.out_info
  for name, before in vars(state).items():
    if jax.tree.structure(before) != jax.tree.structure(getattr(after, name)):
      raise TypeError(
        f"a step of {type(parts.method).__name__} changes the tree of state.{name}: "
        "what `init` makes there, `encode` (batch_stats, and target_stats of a slow "
        "copy) and `after_update` must give back"
      )
  return Traced(init, step, state, traced.jaxpr)


def shapes(parts: Parts, batch: core.Batch) -> TrainState:
  """Traces the state's shapes alone, in half `trace`'s time: the run has begun."""
  return jax.eval_shape(parts.init, batch)
