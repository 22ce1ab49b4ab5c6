"""Optimizers as the official codes run them, on the run's one clock.

`build` reads the group `optimizer` of a config. Updates take the step from outside,
`tx.update(grads, opt_state, params, step=step)`, and keep no counter of their own
save Adam's, which counts the updates that a parameter has seen.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from ssljax import fields, paths, rules, schedules
from ssljax.schedules import Plan, Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
  """The fields that every optimizer has; a path is what `paths.py` says."""

  learning_rate: float | Mapping  # as in schedules.build
  scaling: str = "none"  # of the learning rate by the batch: schedules.SCALINGS
  weight_decay: float | Mapping = 0.0  # as in schedules.build
  exclude: tuple[str, ...] = ()  # paths neither decayed nor adapted by LARS
  frozen: tuple[str, ...] = ()  # paths never updated, without optimizer state
  freeze_until: Mapping[str, float] = dataclasses.field(default_factory=dict)
  # ^ path -> epochs without update, decay or moments (DINO's last layer)
  groups: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
  # ^ path -> fields that differ there, such as a predictor's learning rate
  layer_decay: float = 1.0  # of the learning rate, from block to block to the input
  clip_norm: float = 0.0  # of all trained gradients together; 0: none
  clip_per_parameter: float = 0.0  # of each gradient's own norm (DINO); 0: none

  def __post_init__(self):
    """A lone string would be read letter by letter."""
    for name in ("exclude", "frozen"):
      if isinstance(value := getattr(self, name), str):
        raise ValueError(
          f"optimizer.{name}={value!r} must be a tuple of paths; write ({value!r},)"
        )


def build(config: Mapping, plan: Plan) -> optax.GradientTransformationExtraArgs:
  """The group `optimizer` of a config -> the transformation.

  Its fields: `name`, one in rules.RULES, that function's keywords, and those of
  `Shared`. ValueError on any other, and from `init` on a path no parameter has.
  """
  name, shared = config["name"], _split(config)[1]
  rule = _rule(config, plan)
  groups = {path: optax.set_to_zero() for path in shared.frozen}
  for path, differing in shared.groups.items():
    known = ("learning_rate", "weight_decay", *fields.keywords(rules.RULES[name]))
    fields.check_names(f"optimizer.groups[{path!r}]", differing, known)
    groups[path] = _rule({**config, **differing}, plan)
  for path, epochs in shared.freeze_until.items():
    groups[path] = _asleep_until(round(epochs * plan.steps_per_epoch), rule)
  chain = [partition(groups, rule)]
  if shared.layer_decay != 1:
    chain.append(_by_depth(shared.layer_decay))
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
  """-> function of the step: the learning rate and decay it takes, for metrics."""
  learning_rate, weight_decay = _schedules(_split(config)[1], plan)
  return lambda step: {
    "learning_rate": learning_rate(step),
    "weight_decay": weight_decay(step),
  }


def partition(
  groups: Mapping[str, optax.GradientTransformation],
  rest: optax.GradientTransformation = optax.identity(),  # noqa: B008
) -> optax.GradientTransformationExtraArgs:
  """Each parameter to the first group whose path it has, else to `rest`."""
  # Numbered, not named by their paths: checkpoints make file names of these keys.
  each = {str(i): rule for i, rule in enumerate((*groups.values(), rest))}

  def number(path, leaf):
    fits = (i for i, group in enumerate(groups) if paths.matches((group,), path, leaf))
    return str(next(fits, len(groups)))

  return optax.partition(
    each, lambda tree: jax.tree_util.tree_map_with_path(number, tree)
  )


def _rule(config: Mapping, plan: Plan) -> optax.GradientTransformationExtraArgs:
  own, shared = _split(config)
  rates = _schedules(shared, plan)
  return rules.RULES[config["name"]](
    *rates, lambda *leaf: not paths.matches(shared.exclude, *leaf), **own
  )


def _split(config: Mapping) -> tuple[dict, Shared]:
  """-> the keywords of the optimizer's function, the shared fields."""
  name = config.get("name")
  fields.check_choice("optimizer.name", name, rules.RULES)
  rule = rules.RULES[name]
  given = {k: v for k, v in config.items() if k != "name"}
  fields.check_keywords(f"optimizer {name!r}", given, rule, Shared)
  own = {k: given.pop(k) for k in fields.keywords(rule) if k in given}
  return own, Shared(**given)


def _schedules(shared: Shared, plan: Plan) -> tuple[Schedule, Schedule]:
  factor = schedules.scale(shared.scaling, plan.batch_size)
  return (
    schedules.build(shared.learning_rate, plan, factor),
    schedules.build(shared.weight_decay, plan),
  )


def _clip_each(limit: float):
  # optax.clip_by_block_rms bounds the root mean square; DINO bounds the norm.
  def clip(g):
    return g * jnp.minimum(1.0, limit / (jnp.linalg.norm(g.ravel()) + 1e-6))

  return rules.stateless(lambda updates, params, step: jax.tree.map(clip, updates))


def _by_depth(decay: float):
  # Every rule's update is linear in the learning rate.
  def scale(updates, params, step):
    depths = paths.depths(updates)
    last = max(depths.values())
    return jax.tree_util.tree_map_with_path(
      lambda path, u: u * decay ** (last - depths[paths.name(path)]), updates
    )

  return rules.stateless(scale)


def _asleep_until(first_step: int, rule: optax.GradientTransformationExtraArgs):
  """`rule` from `first_step` on; until then no update, and its state stays new."""

  def update_fn(updates, state, params=None, *, step, **_):
    awake = step >= first_step
    nothing = jax.tree.map(jnp.zeros_like, updates)
    new = rule.update(updates, state, params, step=step)
    return jax.tree.map(
      lambda new, old: jnp.where(awake, new, old), new, (nothing, state)
    )

  return optax.GradientTransformationExtraArgs(rule.init, update_fn)
