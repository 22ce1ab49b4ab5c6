"""From a config to the parts of a run; whatever is wrong with it is said here."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from ssljax import (
  augment,
  core,
  data,
  diagnostics,
  evals,
  fields,
  image,
  methods,
  nets,
  optim,
  schedules,
)
from ssljax.core import Method, TrainState, Views
from ssljax.fields import ConfigError, Group, config_errors
from ssljax.methods.probe import Probed
from ssljax.ranges import Count, NotNegative, Number, OneOf, Positive, Range, Seed

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
GROUPS = (
  *("data", "augment", "encoder", "method", "optimizer"),
  *("pretrained", "checkpoint", "evals"),
)
SOURCE = "ssljax/recipe.py"
MOST_STEPS = 2**31 - 1  # the step is an i32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """The fields of a run's config that are in no group."""

  seed: Seed
  batch_size: Count  # global, whatever the machine
  epochs: Positive
  steps: Annotated[int, Range(1, MOST_STEPS)] | None  # when set, wins over epochs
  dtype: Annotated[str, OneOf(DTYPES)]  # of compute
  steps_per_dispatch: Count
  log_every: Count  # steps
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
  """The group `checkpoint`."""

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
class OnlineProbe:
  """The group `evals.probe`."""

  learning_rate: NotNegative  # 0: no online probe


class Recipe(NamedTuple):
  """The parts of a run that a config determines."""

  method: Method
  tx: optax.GradientTransformationExtraArgs
  views: Views
  eval_views: Views
  rates: Callable[[jax.Array], core.Metrics]  # step -> learning rate, weight decay
  watch: core.Watch
  seed: int

  def init(self, batch: core.Batch) -> TrainState:
    """The state at step 0, shaped by one batch as the host gives it."""
    return core.init_state(self.method, self.tx, self.views, self.seed, batch)

  def step(self, state: TrainState, batch: core.Batch):
    """`core.train_step` with this recipe, and its learning rate among the metrics."""
    rates = self.rates(state.step)
    state, metrics = core.train_step(
      self.method, self.tx, self.views, self.seed, state, batch, self.watch
    )
    return state, {**metrics, **rates}

  def gradients(self, state: TrainState, batch: core.Batch):
    """`core.gradients` with this recipe."""
    return core.gradients(self.method, self.views, self.seed, state, batch)

  def seen(self, batch: core.Batch) -> jax.Array:
    """Examples as the host gives them -> the view [B,...] by which they are judged."""
    return self.eval_views(jax.random.key(0), batch)[self.method.input][:, 0]

  def embed(self, state: TrainState, batch: core.Batch) -> jax.Array:
    """Examples as the host gives them -> features [B,D] f32, nothing random."""
    return self.method.embed(state, self.seen(batch))

  def embed_view(
    self, state: TrainState, batch: core.Batch, rng: jax.Array
  ) -> jax.Array:
    """Likewise of the first random view that the method learns from."""
    batch = self.views(rng, batch)
    return self.method.embed(state, batch[self.method.input][:, 0])

  def classify(self, state: TrainState, batch: core.Batch) -> jax.Array | None:
    """Likewise -> scores of the classes [B,C], where the method classifies."""
    return self.method.classify(state, self.seen(batch))

  def show(self, state: TrainState, batch: core.Batch) -> core.Metrics:
    """What the method has to show of these examples: title -> pictures [B,H,W,C]."""
    rng_views, rng = jax.random.split(jax.random.key(self.seed))
    return self.method.show(state, self.eval_views(rng_views, batch), rng)


def check(config: ConfigDict) -> None:
  """Raises ConfigError on an unknown field, a wrong type or an impossible value.

  Looks at the config alone; what depends on the data or the machine is found by
  `build` and `trace`, still before anything compiles.
  """
  for group in declare(config):
    fields.check(group, fields.at(config, group.path))
  optim.check(config.optimizer)
  augment.configure(config.augment)
  least = methods.KNOWN[config.method.name].least_batch
  if config.batch_size < least:
    raise ConfigError(
      f"batch_size={config.batch_size} must be at least {least}: method "
      f"{config.method.name!r} compares the examples of a batch"
    )


def declare(config: ConfigDict) -> list[Group]:
  """Every group of a run's config with the fields that may stand there."""
  encoder = nets.declare(fields.at(config, "encoder"))
  return [*declare_training(config), encoder, data.declare(fields.at(config, "data"))]


def declare_training(config: ConfigDict) -> list[Group]:
  """Every group but those of data and encoder, which a probe takes from a run."""
  whole = Group("", "the config", fields.declared(Run))
  evaluated = Group("evals", "evals", fields.declared(Evals))
  numbers = "knn", "probe", "few_label"
  own = {"knn": evals.EVALUATORS["knn"], "few_label": evals.EVALUATORS["few_label"]}
  return [
    fields.with_groups(whole, GROUPS, SOURCE),
    augment.declare(fields.at(config, "augment")),
    *methods.declare(fields.at(config, "method")),
    optim.declare(fields.at(config, "optimizer")),
    Group("pretrained", "pretrained", fields.declared(Pretrained)),
    Group("checkpoint", "checkpoint", fields.declared(Saving)),
    fields.with_groups(evaluated, numbers, SOURCE),
    Group("evals.probe", "evals.probe", fields.declared(OnlineProbe)),
    *(
      Group(f"evals.{name}", f"evals.{name}", fields.declared(own[name]))
      for name in own
    ),
  ]


def make_plan(
  config: ConfigDict, num_examples: int, num_classes: int = 0
) -> schedules.Plan:
  """How long the run is, in steps. `steps` wins over `epochs`.

  `num_classes` is 0 for unlabelled data; then there is no online probe.
  """
  if config.batch_size > num_examples:
    raise ConfigError(
      f"batch_size={config.batch_size} is larger than the {num_examples} pictures of "
      f"data.name={config.data.name}; set batch_size to {num_examples} or less"
    )
  steps_per_epoch = num_examples // config.batch_size
  total = config.steps or math.ceil(config.epochs * steps_per_epoch)
  if total > MOST_STEPS:
    raise ConfigError(
      f"epochs={config.epochs:g} are {total:,} steps, and a run has at most "
      f"{MOST_STEPS:,}; set fewer"
    )
  return schedules.Plan(
    config.batch_size, num_examples, steps_per_epoch, total, num_classes
  )


def check_devices(config: ConfigDict, count: int) -> None:
  """ConfigError unless the batch divides over `count` devices."""
  if config.batch_size % count:
    raise ConfigError(
      f"batch_size={config.batch_size} must be a multiple of the {count} devices; try "
      f"{max(1, config.batch_size // count) * count}"
    )


def open_data(config: ConfigDict, run: pathlib.Path | None = None) -> data.Splits:
  """The sources that the group `data` names.

  `run` is the folder of a run that goes on or is judged, None that of a new one.
  """
  with config_errors():
    return data.build(config.data, run)


def build(config: ConfigDict, plan: schedules.Plan) -> Recipe:
  """A checked config and the facts of its data -> the parts of the run."""
  dtype = DTYPES[config.dtype]
  if jax.default_backend() == "cpu":  # has no bfloat16 products that sum in float32
    dtype = jnp.float32
  with config_errors():
    encoder = nets.build(config.encoder, dtype)
    method = methods.build(config.method, encoder, plan, dtype)
    views = augment.build(config.augment)
    shown = config.evals.crop, config.evals.get("interpolation", "")
    eval_views = augment.build(augment.evaluation(config.augment, *shown))
    tx = optim.build(config.optimizer, plan)
    rates = optim.rates(config.optimizer, plan)
  watch = diagnostics.watch(config.watch)
  _check_views(config, method)
  rate = config.evals.probe.learning_rate
  if rate and plan.num_classes:
    method = Probed(method.net, method, plan.num_classes)
    adam = optim.build({"name": "adamw", "learning_rate": rate}, plan)
    tx = optim.partition({"^probe/": adam}, tx)
  return Recipe(method, tx, views, eval_views, rates, watch, config.seed)


def _check_views(config: ConfigDict, method: Method) -> None:
  given = len(augment.configure(config.augment).views)
  if method.views and given != method.views:
    fitting = [k for k, r in augment.RECIPES.items() if len(r.views) == method.views]
    raise ConfigError(
      f"augment.recipe={config.augment.recipe!r} gives {given} views of a picture and "
      f"method {config.method.name!r} takes {method.views}; choose from "
      f"{', '.join(fitting)}"
    )


def trace(recipe: Recipe, batch: core.Batch) -> TrainState:
  """Shapes of the state; finds what does not fit together without compiling."""
  state = shapes(recipe, batch)
  with _fits():
    jax.eval_shape(recipe.step, state, batch)
  return state


def shapes(recipe: Recipe, batch: core.Batch) -> TrainState:
  """Those of the state alone, for what has taken steps before: in half the time."""
  with _fits():
    return jax.eval_shape(recipe.init, batch)


@contextlib.contextmanager
def _fits() -> Iterator[None]:
  try:
    with config_errors():
      yield
  except KeyError as error:
    raise ConfigError(
      f"the method uses {error}, which the network or the batch does not give; heads "
      "are set in method.projector, method.predictor or method.prototypes, captions in "
      "data.captions"
    ) from error
