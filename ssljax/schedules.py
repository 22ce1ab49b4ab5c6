"""What changes during a run: learning rate, decay, target momentum, temperature.

A schedule is a function of the step alone. A config writes one as a number, which is
constant, or as {"kind": a name in KINDS, ...the fields of that function}.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from ssljax import fields
from ssljax.fields import ConfigError
from ssljax.fields.ranges import NotNegative, OneOf, Problem, Range

Schedule = Callable[[jax.Array | int], jax.Array]  # i32 step -> f32, elementwise
Per = Annotated[str, OneOf(("step", "epoch"))]


class Plan(NamedTuple):
  """A run's facts of its data, and the lengths that turn epochs into steps."""

  batch_size: int  # global
  num_examples: int
  steps_per_epoch: int
  total_steps: int
  num_classes: int = 0  # unlabelled


MOST_STEPS = 2**31 - 1  # the step is an i32


@dataclasses.dataclass(frozen=True)
class Values:
  """The rule of a field typed `Schedule`: what a schedule's values may be."""

  range: Range

  def problem(self, path: str, value: Any) -> Problem | None:
    """Finds the first wrong field of a schedule; ConfigError on unknown ones."""
    if callable(value):
      return None  # built already
    if not hasattr(value, "keys"):
      is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
      fits = is_number and self.range.problem(path, value) is None
      return None if fits else Problem(path, value, str(self))
    group = declare(path, value)
    fields.check(group, value)
    bounds = ((name, value[name]) for name in BOUNDS if name in value)
    problems = (self.range.problem(f"{path}.{name}", bound) for name, bound in bounds)
    return next(filter(None, problems), None)

  def outside(self) -> list[float]:
    """Lists numbers that do not fit, for tests of a field's range."""
    return self.range.outside()

  def __str__(self) -> str:
    """Describes the values in words: "a number or a schedule, at least 0"."""
    return f"a number or a schedule (a dict of kind, base, ...) {self.range}"


BOUNDS = ("base", "start", "end")  # the fields of a schedule that are its values
PositiveSchedule = Annotated[Schedule, Values(Range(above=0))]
NotNegativeSchedule = Annotated[Schedule, Values(Range(0))]
ShareSchedule = Annotated[Schedule, Values(Range(0, 1))]


def declare(path: str, config: Mapping) -> fields.Group:
  """Lists the fields of the schedule that a config has at `path`."""
  return fields.chosen(path, config, KINDS, key="kind", noun="schedule")


def build(
  spec: float | Mapping, plan: Plan, factor: float = 1.0, path: str = "schedule"
) -> Schedule:
  """Builds a schedule, a function of the step, from a config's number or dict.

  `factor` multiplies the number or the field `base`; a dict's other fields are
  absolute, as DINO's final learning rate is. `path` is where the config has it.
  """
  if isinstance(spec, numbers.Real):
    return lambda step: jnp.full(jnp.shape(step), spec * factor, jnp.float32)
  numbers_of = dict(spec) if hasattr(spec, "keys") else {"kind": spec}
  fields.check(declare(path, numbers_of), numbers_of)
  kind = numbers_of.pop("kind")
  numbers_of["base"] *= factor
  return KINDS[kind](plan, **numbers_of)


def cosine(
  plan: Plan,
  *,
  base: float,
  end: float = 0.0,
  start: float = 0.0,
  warmup_epochs: NotNegative = 0,
  per: Per = "step",
  inclusive: bool = False,
  to_last: bool = False,
) -> Schedule:
  """Rises linearly to `base`, then falls by half a cosine to `end` at `total_steps`.

  `per`: "step", or "epoch" for values that stay the same throughout an epoch (MoCo
  v2, SimSiam). Of W warm-up steps, step W is the first at `base` (SimCLR, BYOL, MoCo
  v3); with `inclusive`, step W - 1 is, and W again (DINO, SwAV). `end` itself would
  fall on the step or epoch after the last; with `to_last` it is the last's (lightly).
  A run shorter than its warm-up only warms up.
  """
  unit = plan.steps_per_epoch if per == "epoch" else 1  # steps between changes
  total = math.ceil(plan.total_steps / unit)
  warmup = min(whole(warmup_epochs * plan.steps_per_epoch / unit), total)

  def schedule(step):
    position = (jnp.asarray(step) // unit).astype(jnp.float32)
    rise = jnp.minimum(position / max(warmup - inclusive, 1), 1.0)
    fall = jnp.clip((position - warmup) / max(total - warmup - to_last, 1), 0.0, 1.0)
    return jnp.where(
      position < warmup,
      start + (base - start) * rise,
      end + (base - end) * (0.5 + 0.5 * jnp.cos(jnp.pi * fall)),
    )

  return schedule


def linear(plan: Plan, *, base: float, end: float) -> Schedule:
  """Moves in a line from `base` to `end` at `total_steps` (I-JEPA's teacher decay)."""
  return lambda step: (
    base + (end - base) * jnp.minimum(jnp.float32(step) / plan.total_steps, 1.0)
  )


def warmup(
  plan: Plan,
  *,
  base: float,
  start: float,
  warmup_epochs: NotNegative,
  per: Per = "step",
  inclusive: bool = False,
) -> Schedule:
  """Rises linearly from `start` to `base`, then stays: a `cosine` that does not fall.

  DINO's teacher temperature, with `per` "epoch" and `inclusive`.
  """
  return cosine(
    plan,
    base=base,
    end=base,
    start=start,
    warmup_epochs=warmup_epochs,
    per=per,
    inclusive=inclusive,
  )


def epoch_cosine(
  plan: Plan,
  *,
  base: float,
  end: float = 0.0,
  start: float = 0.0,
  warmup_epochs: NotNegative = 0,
) -> Schedule:
  """Falls by half a cosine over the run, epochs counted from 1 (SupCon, MoCo's demo).

  Epoch e of E is at e / E of the way from `base` to `end`. The first `warmup_epochs`
  rise by steps instead, from `start` to the cosine's value at the last of them, or to
  `base` where the run is no longer than that. A run of one epoch, all of which would be
  at `end`, stays at `base`.
  """
  total = plan.total_steps / plan.steps_per_epoch

  def fall(epoch, cos=jnp.cos):
    return end + (base - end) * (0.5 + 0.5 * cos(math.pi * epoch / total))

  peak = fall(warmup_epochs, math.cos) if warmup_epochs < total else base

  def schedule(step):
    step = jnp.asarray(step)
    rise = step.astype(jnp.float32) / max(warmup_epochs * plan.steps_per_epoch, 1)
    epoch = (step // plan.steps_per_epoch + 1).astype(jnp.float32)
    return jnp.where(
      epoch <= warmup_epochs,
      start + (peak - start) * rise,
      fall(jnp.minimum(epoch, total)) if total > 1 else base,
    )

  return schedule


def steps(
  plan: Plan,
  *,
  base: float,
  milestones: tuple[NotNegative, ...],
  factor: NotNegative | tuple[NotNegative, ...],
  warmup_epochs: NotNegative = 0,
) -> Schedule:
  """Multiplies `base` by `factor` at each of the `milestones`, in epochs (InstDisc).

  A list of factors, one a milestone, says what share of `base` is left from there on
  (InvaSpread: 0.1, 0.05, 0.01). Of W warm-up steps, step 0 is at base / W and step
  W - 1 at `base` (W-MSE).
  """
  if isinstance(factor, numbers.Real):
    factor = [factor ** (i + 1) for i in range(len(milestones))]
  if len(factor) != len(milestones):
    raise ConfigError(
      f"factor={tuple(factor)} must be one number, or one for each of the "
      f"milestones={tuple(milestones)}"
    )
  starts = [whole(epoch * plan.steps_per_epoch) for epoch in milestones]
  warmup = whole(warmup_epochs * plan.steps_per_epoch)

  def schedule(step):
    position = (jnp.asarray(step) + 1).astype(jnp.float32)
    value = base * jnp.minimum(position / max(warmup, 1), 1.0)
    remaining_share = jnp.ones_like(value)
    for start, share in zip(starts, factor, strict=True):
      remaining_share = jnp.where(jnp.asarray(step) >= start, share, remaining_share)
    return value * remaining_share

  return schedule


def whole(steps: float) -> int:
  """Rounds a number of steps; so many that no run has them are as many as fit."""
  return round(min(steps, MOST_STEPS))


KINDS = {
  "cosine": cosine,
  "epoch_cosine": epoch_cosine,
  "linear": linear,
  "warmup": warmup,
  "steps": steps,
}


SCALINGS = {
  "none": lambda batch_size: 1.0,
  "linear": lambda batch_size: batch_size / 256,  # Goyal et al. 2017
  "sqrt": math.sqrt,  # SimCLR, appendix B.1
}


def scale(rule: str, batch_size: int) -> float:
  """Returns the learning rate's factor for a global batch, by a rule in SCALINGS."""
  fields.check_choice("optimizer.scaling", rule, SCALINGS)
  return SCALINGS[rule](batch_size)
