"""From a config to the parts of a run; whatever is wrong with it is said here."""

import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

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
  methods,
  nets,
  optim,
  schedules,
)
from ssljax.core import Method, TrainState, Views
from ssljax.fields import ConfigError, check_choice, check_names, config_errors
from ssljax.methods.probe import Probed

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
FIELDS = {
  "": (
    "seed batch_size epochs steps dtype steps_per_dispatch log_every data augment "
    "encoder method optimizer watch pretrained checkpoint evals"
  ),
  "pretrained": "checkpoint step into take",
  "checkpoint": "every_steps keep",
  "evals": "every_epochs at_end crop knn probe few_label",
  "evals.knn": "k temperature",
  "evals.probe": "learning_rate",
  "evals.few_label": "labels_per_class draws",
}
POSITIVE = (
  "batch_size epochs steps steps_per_dispatch log_every data.size "
  "checkpoint.every_steps checkpoint.keep evals.knn.k "
  "evals.knn.temperature evals.few_label.draws"
)
NOT_NEGATIVE = "data.workers evals.every_epochs evals.probe.learning_rate seed"


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
  for group, known in FIELDS.items():
    check_names(group or "the config", _get(config, group), known.split())
  positive = POSITIVE.split()
  if "size" in augment.fields(config.augment.get("recipe")):  # texts have none
    positive.append("augment.size")
  for name in positive:
    _check_number(config, name, lambda x: x > 0, "positive")
  for name in NOT_NEGATIVE.split():
    _check_number(config, name, lambda x: x >= 0, "0 or more")
  check_choice("dtype", config.dtype, DTYPES)
  check_choice("encoder.name", config.encoder.get("name"), nets.ENCODERS)
  for name in config.evals.at_end:
    check_choice("evals.at_end", name, evals.EVALUATORS)
  methods.check(config.method)


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
    eval_views = augment.build(augment.evaluation(config.augment, config.evals.crop))
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
  try:
    with config_errors():
      state = jax.eval_shape(recipe.init, batch)
      jax.eval_shape(recipe.step, state, batch)
  except KeyError as error:
    raise ConfigError(
      f"the method uses {error}, which the network or the batch does not give; heads "
      "are set in method.projector, method.predictor or method.prototypes, captions in "
      "data.captions"
    ) from error
  return state


def _get(config: ConfigDict, path: str) -> Any:
  for name in path.split(".") if path else ():
    if name not in config:
      raise ConfigError(f"the config has no field {path}; every recipe needs it")
    config = config[name]
  return config


def _check_number(config: ConfigDict, name: str, holds, allowed: str) -> None:
  value = _get(config, name)
  if value is None and name == "steps":
    return
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    raise ConfigError(f"{name}={value!r} must be a number, {allowed}")
  if not holds(value):
    raise ConfigError(f"{name}={value} must be {allowed}")
