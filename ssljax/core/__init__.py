"""One training step: pure functions from a state and a batch to the next state.

Arrays are global: B is the whole batch whatever the number of devices, and the code
reads as if there were one. `sharding.py` lays the arrays over the machine. `state.py`
says what a step changes, `method.py` what a method is.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from ssljax import diagnostics
from ssljax.core import microbatch
from ssljax.core.method import Method, draws, keys
from ssljax.core.state import IN_PLACE, Aux, Batch, Encoded, Layout, Metrics, TrainState

__all__ = [
  "IN_PLACE",
  "Aux",
  "Batch",
  "Encoded",
  "Layout",
  "Method",
  "Metrics",
  "TrainState",
  "draws",
  "gradients",
  "init_state",
  "keys",
  "step_keys",
  "train_step",
]

PROBE = "probe"  # the entry of `params` that the method is not shown
Views = Callable[[jax.Array, Batch], Batch]
Watch = Callable[[Any], Metrics]  # gradients -> what a recipe wants logged of them


class Probe(Protocol):
  """A classifier that learns beside a method, of rows that carry no gradient."""

  def init(self, dim: int) -> Any:
    """Makes the parameters of rows of size `dim`; they stay in `params` under PROBE."""

  def loss(
    self, params: Any, rows: jax.Array, label: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    """Scores rows [B,D] against label i32 [B] -> loss f32[], metrics."""


def init_state(
  method: Method,
  tx: optax.GradientTransformation,
  views: Views,
  seed: int,
  batch: Batch,
  probe: Probe | None = None,
) -> TrainState:
  """Builds the state at step 0; `batch` gives only the shapes."""
  rng_views, rng_net = jax.random.split(jax.random.key(seed))
  batch = views(rng_views, batch)
  params, batch_stats, target = method.init(rng_net, batch)
  step = jnp.zeros((), jnp.int32)
  if probe is not None:
    state = TrainState(step, None, batch_stats, target, None)
    _, aux = jax.eval_shape(method.loss_fn, params, state, batch, rng_net)
    params = {**params, PROBE: probe.init(aux.outputs["features"].shape[-1])}
  return TrainState(step, params, batch_stats, target, tx.init(params))


def step_keys(seed: int, step: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Derives a step's two keys from (seed, step): of its views, of all else it draws."""
  return tuple(jax.random.split(jax.random.fold_in(jax.random.key(seed), step)))


def gradients(
  method: Method,
  views: Views,
  seed: int,
  state: TrainState,
  batch: Batch,
  probe: Probe | None = None,
  part: int = 0,
) -> tuple[tuple[jax.Array, Aux], Any]:
  """Computes a step's objective f32[], its Aux, and the gradients of the parameters.

  Randomness is a function of (seed, step), then of each example's index. With `part`
  that many examples at once are encoded, and encoded again for the gradient.
  """
  rng_views, rng = step_keys(seed, state.step)
  bare_state = state.replace(params=None)  # a method cannot read the wrong params

  def objective(params):  # what is minimised
    net_params = without_probe(params)
    if part:
      encode = _encoder(method, views, seed, state, net_params)
      encoded = Encoded(*microbatch.encode(encode, batch, part))
      loss, aux = method.compare(net_params, encoded, bare_state, batch, rng)
    else:
      loss, aux = method.loss_fn(net_params, bare_state, views(rng_views, batch), rng)
    total, metrics = loss, aux.metrics
    if probe is not None:
      rows = jax.lax.stop_gradient(aux.outputs["features"][:, 0])
      probe_loss, accuracy = probe.loss(params[PROBE], rows, batch["label"])
      total, metrics = loss + probe_loss, metrics | accuracy
    if aux.loss is not None:
      loss = aux.loss
    if loss is not total:
      metrics = {**metrics, "objective": total}
    return total, aux.replace(loss=loss, metrics=metrics)

  return jax.value_and_grad(objective, has_aux=True)(state.params)


def _encoder(method: Method, views: Views, seed: int, state: TrainState, params: Any):
  """Makes a function that encodes examples, as the host gives them -> `Encoded`."""
  rng_views, rng = step_keys(seed, state.step)
  bare_state = state.replace(params=None)
  return lambda batch: method.encode(params, bare_state, views(rng_views, batch), rng)


def size_of_hands(
  method: Method, views: Views, seed: int, state: TrainState, batch: Batch, part: int
) -> int:
  """Counts the neighbours that stay together where parts of `part` are encoded."""
  encode = _encoder(method, views, seed, state, without_probe(state.params))
  return microbatch.size_of_hands(encode, batch, part)


def train_step(
  method: Method,
  tx: optax.GradientTransformationExtraArgs,
  views: Views,
  seed: int,
  state: TrainState,
  batch: Batch,
  watch: Watch = lambda grads: {},
  probe: Probe | None = None,
  part: int = 0,
  layout: Layout = IN_PLACE,
) -> tuple[TrainState, Metrics]:
  """Takes one optimizer step on a host batch -> the new state, metrics f32[] by name.

  `batch` as it left the host: "image" [B,H,W,C] uint8, "label" [B], "index" [B].
  `layout` says where a state lies that is split over devices.
  ValueError where the method's metrics take a name of the step's own.
  """
  shown = layout.whole(state)
  (_, aux), grads = gradients(method, views, seed, shown, batch, probe, part)
  grads = layout.split(grads)
  updates, opt_state = tx.update(grads, state.opt_state, state.params, step=state.step)
  params = optax.apply_updates(state.params, updates)
  net_params, target = method.after_update(without_probe(params), state, aux.carry)
  params = {**net_params, PROBE: params[PROBE]} if probe is not None else net_params
  metrics = {
    "loss": aux.loss,
    "grad_norm": optax.tree.norm(grads),
    **watch(grads),
    **diagnostics.spread(aux.outputs["projection"]),
  }
  if clashes := metrics.keys() & aux.metrics.keys():
    raise ValueError(
      f"{type(method).__name__} logs {sorted(clashes)}, which the step does itself"
    )
  state = TrainState(state.step + 1, params, aux.batch_stats, target, opt_state)
  return state, {**metrics, **aux.metrics}


def without_probe(params: Any) -> Any:
  """Returns the parameters that the method itself knows, without the probe's."""
  if not isinstance(params, dict) or PROBE not in params:
    return params
  return {name: value for name, value in params.items() if name != PROBE}
