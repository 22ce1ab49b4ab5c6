"""The update rules that the official codes run, on a step that comes from outside."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from ssljax.fields.ranges import Positive, Range
from ssljax.schedules import Schedule

Decay = Annotated[float, Range(0, below=1)]  # of what an optimizer averages
Adapted = Callable[[Any, jax.Array], bool]  # key path, parameter -> is it decayed?


def sgd(
  learning_rate: Schedule,
  weight_decay: Schedule,
  adapted: Adapted,
  *,
  momentum: Decay = 0.9,
  nesterov: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """SGD as in PyTorch: decay joins the gradient, the rate applies after momentum."""
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
  momentum: Decay = 0.9,
  trust_coefficient: Positive = 0.001,
  classic_momentum: bool = False,
  nesterov: bool = False,
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
  trace, descend = optax.trace(momentum, nesterov), _descend(learning_rate)
  last = (descend, trace) if classic_momentum else (trace, descend)
  return optax.chain(*gradient, *last)


def adamw(
  learning_rate: Schedule,
  weight_decay: Schedule,
  adapted: Adapted,
  *,
  b1: Decay = 0.9,
  b2: Decay = 0.999,
  eps: Positive = 1e-8,
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
  momentum: Decay = 0.9,
  trust_coefficient: Positive = 0.001,
  clip: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """Apex's LARC over SGD (SwAV): LARS with |g| + decay |w| below.

  `clip` keeps the trust ratio, the layer's own rate, from exceeding the learning rate:
  the step is by the smaller of both. A parameter or gradient that is zero takes the
  plain step, without decay.
  """

  def adapt(updates, params, step):
    decay, rate = weight_decay(step), learning_rate(step)

    def one(path, g, w):
      if not adapted(path, w):
        return g
      norm_w, norm_g = norm(w), norm(g)
      trust = trust_coefficient * norm_w / (norm_g + decay * norm_w + 1e-8)
      if clip:  # as a factor of the rate, which comes after the momentum
        trust = jnp.where(trust < rate, trust / rate, 1.0)
      return jnp.where(norm_w * norm_g > 0, trust * (g + decay * w), g)

    return jax.tree_util.tree_map_with_path(one, updates, params)

  return optax.chain(stateless(adapt), optax.trace(momentum), _descend(learning_rate))


def norm(x: jax.Array) -> jax.Array:
  """Computes the Euclidean norm f32[] of all of x; in place, were it split by any axis.

  `jnp.linalg.norm` of a matrix takes its rows as one vector: devices would gather it.
  """
  return jnp.sqrt(jnp.square(x).sum())


RULES = {"sgd": sgd, "lars": lars, "larc": larc, "adamw": adamw}


def stateless(update) -> optax.GradientTransformationExtraArgs:
  """Makes an optax transformation of update(updates, params, step) -> updates."""

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

  return stateless(update)


def _descend(learning_rate: Schedule):
  # optax.scale_by_learning_rate counts its own steps.
  def update(updates, params, step):
    rate = -learning_rate(step)
    return jax.tree.map(lambda u: rate * u, updates)

  return stateless(update)


def _scale_by_adam(b1: float, b2: float, eps: float):
  adam = optax.scale_by_adam(b1, b2, eps)

  def update_fn(updates, state, params=None):
    # optax takes a float to the power of an integer count: not a strict type.
    with jax.numpy_dtype_promotion("standard"):
      return adam.update(updates, state, params)

  return optax.GradientTransformation(adam.init, update_fn)
