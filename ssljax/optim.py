"""Optimizers as the official codes run them, on the run's one clock.

`build` reads the group `optimizer` of a config. Updates take the step from outside,
`tx.update(grads, opt_state, params, step=step)`, and keep no counter of their own
save Adam's, which counts the updates that a parameter has seen.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ssljax import fields, schedules
from ssljax.schedules import Plan, Schedule

Adapted = Callable[[Any, jax.Array], bool]  # key path, parameter -> is it decayed?


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
  """The fields that every optimizer has.

  Paths are regular expressions, searched in names such as "encoder/stem/kernel";
  "norm_and_bias" stands for every parameter of at most one axis.
  """

  learning_rate: float | Mapping  # as in schedules.build
  scaling: str = "none"  # of the learning rate by the batch: schedules.SCALINGS
  weight_decay: float | Mapping = 0.0  # as in schedules.build
  exclude: tuple[str, ...] = ()  # paths neither decayed nor adapted by LARS
  frozen: tuple[str, ...] = ()  # paths never updated, without optimizer state
  freeze_until: Mapping[str, float] = dataclasses.field(default_factory=dict)
  # ^ path -> epochs without update, decay or moments (DINO's last layer)
  groups: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
  # ^ path -> fields that differ there, such as a predictor's learning rate
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

  Its fields: `name`, one in OPTIMIZERS, that function's keywords, and those of
  `Shared`. ValueError on any other, and from `init` on a path no parameter has.
  """
  name, shared = config["name"], _split(config)[1]
  rule = _rule(config, plan)
  groups = {path: optax.set_to_zero() for path in shared.frozen}
  for path, differing in shared.groups.items():
    known = ("learning_rate", "weight_decay", *fields.keywords(OPTIMIZERS[name]))
    fields.check_names(f"optimizer.groups[{path!r}]", differing, known)
    groups[path] = _rule({**config, **differing}, plan)
  for path, epochs in shared.freeze_until.items():
    groups[path] = _asleep_until(round(epochs * plan.steps_per_epoch), rule)
  chain = [partition(groups, rule)]
  if shared.clip_per_parameter:
    chain.insert(0, _clip_each(shared.clip_per_parameter))
  if shared.clip_norm:
    chain.insert(0, optax.clip_by_global_norm(shared.clip_norm))
    chain.insert(0, partition({p: optax.set_to_zero() for p in shared.frozen}))
  tx = optax.chain(*chain)

  def init(params):
    for field in ("exclude", "frozen", "freeze_until", "groups"):
      _check_paths(field, getattr(shared, field), params)
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
  rules = {str(i): rule for i, rule in enumerate((*groups.values(), rest))}

  def number(path, leaf):
    fits = (i for i, group in enumerate(groups) if _matches((group,), path, leaf))
    return str(next(fits, len(groups)))

  return optax.partition(
    rules, lambda tree: jax.tree_util.tree_map_with_path(number, tree)
  )


def sgd(
  learning_rate: Schedule,
  weight_decay: Schedule,
  adapted: Adapted,
  *,
  momentum: float = 0.9,
  nesterov: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """As in PyTorch: decay is added to the gradient, the rate applied after momentum."""
  return optax.chain(
    _add_decay(weight_decay, adapted),
    optax.trace(momentum, nesterov),
    _descend(learning_rate),
  )


def lars(
  learning_rate: Schedule,
  weight_decay: Schedule,
  adapted: Adapted,
  *,
  momentum: float = 0.9,
  trust_coefficient: float = 0.001,
  classic_momentum: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """LARS (You et al. 2017): the decayed gradient g times coefficient |w| / |g|.

  With `classic_momentum` the momentum holds steps with the rate they were taken at
  (SimCLR), else gradients (BYOL, MoCo v3, and optax): they part when the rate moves.
  """
  gradient = (
    _add_decay(weight_decay, adapted),
    optax.masked(
      optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient),
      lambda tree: jax.tree_util.tree_map_with_path(adapted, tree),
    ),
  )
  trace, descend = optax.trace(momentum), _descend(learning_rate)
  last = (descend, trace) if classic_momentum else (trace, descend)
  return optax.chain(*gradient, *last)


def adamw(
  learning_rate: Schedule,
  weight_decay: Schedule,
  adapted: Adapted,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
  """AdamW (Loshchilov & Hutter 2019), decay times the rate as in PyTorch and optax."""
  return optax.chain(
    _scale_by_adam(b1, b2, eps),
    _add_decay(weight_decay, adapted),
    _descend(learning_rate),
  )


def larc(
  learning_rate: Schedule,
  weight_decay: Schedule,
  adapted: Adapted,
  *,
  momentum: float = 0.9,
  trust_coefficient: float = 0.001,
) -> optax.GradientTransformationExtraArgs:
  """Apex's LARC without clipping, over SGD (SwAV): LARS with |g| + decay |w| below.

  A parameter or gradient that is zero takes the plain step, without decay.
  """

  def adapt(updates, params, step):
    decay = weight_decay(step)

    def one(path, g, w):
      if not adapted(path, w):
        return g
      norm_w, norm_g = jnp.linalg.norm(w.ravel()), jnp.linalg.norm(g.ravel())
      trust = trust_coefficient * norm_w / (norm_g + decay * norm_w + 1e-8)
      return jnp.where(norm_w * norm_g > 0, trust * (g + decay * w), g)

    return jax.tree_util.tree_map_with_path(one, updates, params)

  return optax.chain(_stateless(adapt), optax.trace(momentum), _descend(learning_rate))


OPTIMIZERS = {"sgd": sgd, "lars": lars, "larc": larc, "adamw": adamw}


def _rule(config: Mapping, plan: Plan) -> optax.GradientTransformationExtraArgs:
  own, shared = _split(config)
  rates = _schedules(shared, plan)
  return OPTIMIZERS[config["name"]](
    *rates, lambda *leaf: not _matches(shared.exclude, *leaf), **own
  )


def _split(config: Mapping) -> tuple[dict, Shared]:
  """-> the keywords of the optimizer's function, the shared fields."""
  name = config.get("name")
  fields.check_choice("optimizer.name", name, OPTIMIZERS)
  rule = OPTIMIZERS[name]
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


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _matches(patterns: Iterable[str], path, leaf: jax.Array) -> bool:
  return any(
    leaf.ndim <= 1 if pattern == "norm_and_bias" else re.search(pattern, _name(path))
    for pattern in patterns
  )


def _check_paths(field: str, patterns: Iterable[str], params: Any) -> None:
  leaves = jax.tree_util.tree_leaves_with_path(params)
  for pattern in patterns:
    if not any(_matches((pattern,), *leaf) for leaf in leaves):
      raise ValueError(
        f"optimizer.{field} holds {pattern!r}, which is in no parameter's path; "
        f"paths look like {_name(leaves[0][0])!r}"
      )


def _stateless(update) -> optax.GradientTransformationExtraArgs:
  """update(updates, params, step) -> updates, as a transformation."""

  def update_fn(updates, state, params=None, *, step=None, **_):
    return update(updates, params, step), state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update_fn
  )


def _add_decay(weight_decay: Schedule, adapted: Adapted):
  # optax.add_decayed_weights counts its own steps.
  def update(updates, params, step):
    decay = weight_decay(step)
    return jax.tree_util.tree_map_with_path(
      lambda path, g, w: g + decay * w if adapted(path, w) else g, updates, params
    )

  return _stateless(update)


def _descend(learning_rate: Schedule):
  # optax.scale_by_learning_rate counts its own steps.
  def update(updates, params, step):
    rate = -learning_rate(step)
    return jax.tree.map(lambda u: rate * u, updates)

  return _stateless(update)


def _scale_by_adam(b1: float, b2: float, eps: float):
  adam = optax.scale_by_adam(b1, b2, eps)

  def update_fn(updates, state, params=None):
    # optax takes a float to the power of an integer count: not a strict type.
    with jax.numpy_dtype_promotion("standard"):
      return adam.update(updates, state, params)

  return optax.GradientTransformation(adam.init, update_fn)


def _clip_each(limit: float):
  # optax.clip_by_block_rms bounds the root mean square; DINO bounds the norm.
  def clip(g):
    return g * jnp.minimum(1.0, limit / (jnp.linalg.norm(g.ravel()) + 1e-6))

  return _stateless(lambda updates, params, step: jax.tree.map(clip, updates))


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
