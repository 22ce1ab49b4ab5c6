"""Optimizers as the official codes run them, on the run's one clock.

`build` reads the group `optimizer` of a config. Updates take the step from outside,
`tx.update(grads, opt_state, params, step=step)`, and keep no counter of their own
save Adam's, which counts the updates that a parameter has seen.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

from ssljax import fields, paths, schedules
from ssljax.fields import ConfigError, Group
from ssljax.fields.ranges import NotNegative, OneOf, Positive
from ssljax.optim import rules
from ssljax.schedules import NotNegativeSchedule, Plan, Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
  """The fields that every optimizer has; a path is what `paths.py` says."""

  learning_rate: NotNegativeSchedule
  scaling: Annotated[str, OneOf(schedules.SCALINGS)] = "none"  # of the learning rate
  weight_decay: NotNegativeSchedule = 0.0
  exclude: tuple[str, ...] = ()  # paths neither decayed nor adapted by LARS
  frozen: tuple[str, ...] = ()  # paths never updated, without optimizer state
  freeze_until: Mapping[str, NotNegative] = dataclasses.field(default_factory=dict)
  # ^ path -> epochs without update, decay or moments (DINO's last layer)
  groups: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
  # ^ path -> fields that differ there, such as a predictor's learning rate
  layer_decay: Positive = 1.0  # of the learning rate, from block to block to the input
  clip_norm: NotNegative = 0.0  # of all trained gradients together; 0: none
  clip_per_parameter: NotNegative = 0.0  # of each gradient's own norm (DINO); 0: none


def declare(config: Mapping) -> Group:
  """Lists the fields of the group `optimizer` of a config."""
  return fields.chosen("optimizer", config, rules.RULES, Shared)


def check(config: Mapping) -> None:
  """Raises ConfigError where the group `optimizer` of a config cannot be built."""
  group = declare(config)
  fields.check(group, config)
  rule_fields = fields.keywords(rules.RULES[config["name"]])
  group_fields = {
    name: field._replace(default=None)  # what a group of parameters does not set
    for name, field in group.fields.items()
    if name in ("learning_rate", "weight_decay", *rule_fields)
  }
  for path, values in config.get("groups", {}).items():
    at = f"optimizer.groups[{path!r}]"
    fields.check(Group(at, at, group_fields), values)


def build(
  config: Mapping, plan: Plan, layers: Sequence[Sequence[str]] = ()
) -> optax.GradientTransformationExtraArgs:
  """Builds the optimizer, an optax transformation, of the group `optimizer`.

  `layers` are the encoder's, by which `layer_decay` goes.

  Its fields: `name`, one in rules.RULES, that function's keywords, and those of
  `Shared`. ConfigError on any other, ValueError from `init` on a path no parameter has.
  """
  check(config)
  shared = _split(config)[1]
  rule = _rule(config, plan)
  groups = {path: optax.set_to_zero() for path in shared.frozen}
  for path, differing in shared.groups.items():
    groups[path] = _rule({**config, **differing}, plan)
  for path, epochs in shared.freeze_until.items():
    groups[path] = _asleep_until(schedules.whole(epochs * plan.steps_per_epoch), rule)
  chain = [partition(groups, rule)]
  if shared.layer_decay != 1:
    if not layers:
      raise ConfigError(
        f"optimizer.layer_decay={shared.layer_decay:g}: the encoder does not say how "
        "deep its layers are; set it to 1"
      )
    chain.append(_by_depth(shared.layer_decay, layers))
  if shared.clip_per_parameter:
    chain.insert(0, _clip_each(shared.clip_per_parameter))
  if shared.clip_norm:
    chain.insert(0, optax.clip_by_global_norm(shared.clip_norm))
    chain.insert(0, partition({p: optax.set_to_zero() for p in shared.frozen}))
  tx = optax.chain(*chain)

  def init(params):
    for field in ("exclude", "frozen", "freeze_until", "groups"):
      paths.check(f"optimizer.{field}", getattr(shared, field), params)
    return tx.init(params)

  return optax.GradientTransformationExtraArgs(init, tx.update)


def rates(config: Mapping, plan: Plan) -> Callable[[jax.Array], dict]:
  """Makes a function of the step: the learning rate and decay it takes, for metrics."""
  learning_rate, weight_decay = _schedules(_split(config)[1], plan)
  return lambda step: {
    "learning_rate": learning_rate(step),
    "weight_decay": weight_decay(step),
  }


def partition(
  groups: Mapping[str, optax.GradientTransformation],
  rest: optax.GradientTransformation = optax.identity(),  # noqa: B008
) -> optax.GradientTransformationExtraArgs:
  """Gives each parameter to the first group whose path it has, else to `rest`."""
  # Numbered, not named by their paths: checkpoints make file names of these keys.
  rules_by_number = {str(i): rule for i, rule in enumerate((*groups.values(), rest))}

  def number(path, leaf):
    fits = (i for i, group in enumerate(groups) if paths.matches((group,), path, leaf))
    return str(next(fits, len(groups)))

  return optax.partition(
    rules_by_number, lambda tree: jax.tree_util.tree_map_with_path(number, tree)
  )


def _rule(config: Mapping, plan: Plan) -> optax.GradientTransformationExtraArgs:
  rule_numbers, shared = _split(config)
  rates = _schedules(shared, plan)
  return rules.RULES[config["name"]](
    *rates, lambda *leaf: not paths.matches(shared.exclude, *leaf), **rule_numbers
  )


def _split(config: Mapping) -> tuple[dict, Shared]:
  """Splits a config into the rule's own keywords and the shared fields."""
  shared_values = {k: v for k, v in config.items() if k != "name"}
  names = fields.keywords(rules.RULES[config["name"]])
  rule_numbers = {k: shared_values.pop(k) for k in names if k in shared_values}
  return rule_numbers, Shared(**shared_values)


def _schedules(shared: Shared, plan: Plan) -> tuple[Schedule, Schedule]:
  factor = schedules.scale(shared.scaling, plan.batch_size)
  return (
    schedules.build(shared.learning_rate, plan, factor, "optimizer.learning_rate"),
    schedules.build(shared.weight_decay, plan, path="optimizer.weight_decay"),
  )


def _clip_each(limit: float):
  # optax.clip_by_block_rms bounds the root mean square; DINO bounds the norm.
  def clip(g):
    return g * jnp.minimum(1.0, limit / (rules.norm(g) + 1e-6))

  return rules.stateless(lambda updates, params, step: jax.tree.map(clip, updates))


def _by_depth(decay: float, layers: Sequence[Sequence[str]]):
  # Every rule's update is linear in the learning rate.
  def scale(updates, params, step):
    depths, last = paths.depths(updates, layers), len(layers)
    return jax.tree_util.tree_map_with_path(
      lambda path, u: u * decay ** (last - depths[paths.name(path)]), updates
    )

  return rules.stateless(scale)


def _asleep_until(first_step: int, rule: optax.GradientTransformationExtraArgs):
  """Applies `rule` from `first_step` on; until then its state stays new."""

  def update_fn(updates, state, params=None, *, step, **_):
    awake = step >= first_step
    nothing = jax.tree.map(jnp.zeros_like, updates)
    new = rule.update(updates, state, params, step=step)
    return jax.tree.map(
      lambda new, old: jnp.where(awake, new, old), new, (nothing, state)
    )

  return optax.GradientTransformationExtraArgs(rule.init, update_fn)
