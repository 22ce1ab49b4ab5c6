"""The parts of a run, and what they do with examples as the host gives them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ssljax import core
from ssljax.core import Method, TrainState, Views


class Traced(NamedTuple):
  """A run's programs traced, not compiled; who calls them traces nothing again."""

  init: Callable[[core.Batch], TrainState]
  step: Callable[[TrainState, core.Batch], tuple[TrainState, core.Metrics]]
  state: TrainState  # its shapes
  jaxpr: Any  # of the step


class Parts(NamedTuple):
  """The parts of a run that a config builds."""

  method: Method
  tx: optax.GradientTransformationExtraArgs
  views: Views
  eval_views: Views
  rates: Callable[[jax.Array], core.Metrics]  # step -> learning rate, weight decay
  watch: core.Watch
  seed: int
  probe: core.Probe | None = None
  microbatch: int = 0  # examples that pass the networks at once; 0: the whole batch
  split_state: int = 0  # numbers from which an array is split over devices; 0: none
  early: tuple[tuple[int, Views], ...] = ()  # (before which step, views smaller yet)

  def init(self, batch: core.Batch) -> TrainState:
    """Builds the state at step 0, shaped by one batch as the host gives it."""
    return core.init_state(
      self.method, self.tx, self.views, self.seed, batch, self.probe
    )

  def step(
    self, state: TrainState, batch: core.Batch, layout: core.Layout = core.IN_PLACE
  ):
    """Runs `core.train_step` on a host batch, and logs the learning rate and decay.

    Where views grow during the run the step holds a program for each stage, and runs
    the one that its clock says.
    """
    logged = self.rates(state.step)

    def train(views):
      method = self.method, self.tx, views, self.seed
      how = self.watch, self.probe, self.microbatch, layout
      return lambda state, batch: core.train_step(*method, state, batch, *how)

    if not self.early:
      state, metrics = train(self.views)(state, batch)
      return state, {**metrics, **logged}
    ends, smaller = zip(*self.early, strict=True)
    number = (state.step >= jnp.array(ends)).sum()
    programs = [train(views) for views in (*smaller, self.views)]
    state, metrics = jax.lax.switch(number, programs, state, batch)
    return state, {**metrics, **logged, "stage": number.astype(jnp.float32)}

  def gradients(self, state: TrainState, batch: core.Batch):
    """Runs `core.gradients` on a host batch: objective f32[], Aux, gradients."""
    method, views, seed = self.method, self.views, self.seed
    return core.gradients(
      method, views, seed, state, batch, self.probe, self.microbatch
    )

  def device_note(self, state: TrainState, batch: core.Batch, count: int) -> str:
    """Says where parts of a batch do not lie whole on `count` devices; "": they do."""
    if not self.microbatch:
      return ""
    method, views, seed = self.method, self.views, self.seed
    hand = core.size_of_hands(method, views, seed, state, batch, self.microbatch)
    if self.microbatch % (hand * count) == 0:
      return ""
    return (
      f"microbatch={self.microbatch} is no multiple of {hand * count}: {count} devices "
      f"of {hand} examples that BatchNorm keeps together; pictures travel between them."
    )

  def augmented(self, state: TrainState, batch: core.Batch) -> core.Batch:
    """Draws the views [B,V,...] that the next step takes of a host batch.

    Where they grow during the run, as those of its end.
    """
    return self.views(core.step_keys(self.seed, state.step)[0], batch)

  def seen(self, batch: core.Batch) -> jax.Array:
    """Returns the view [B,...], nothing random, by which a host batch is judged."""
    return self.eval_views(jax.random.key(0), batch)[self.method.input][:, 0]

  def embed(self, state: TrainState, batch: core.Batch) -> jax.Array:
    """Computes the features [B,D] f32 of a host batch, from its evaluation view."""
    return self.method.embed(state, self.seen(batch))

  def patches(self, state: TrainState, batch: core.Batch, block: str = "") -> jax.Array:
    """Computes the features [B,h,w,D] of a host batch's patches after a `block`."""
    return self.method.patches(state, self.seen(batch), block)

  def embed_view(
    self, state: TrainState, batch: core.Batch, rng: jax.Array
  ) -> jax.Array:
    """Computes the features [B,D] f32 of a host batch, from a random training view."""
    batch = self.views(rng, batch)
    return self.method.embed(state, batch[self.method.input][:, 0])

  def classify(self, state: TrainState, batch: core.Batch) -> jax.Array | None:
    """Scores the classes of a host batch -> [B,C]; None: the method has no classes."""
    return self.method.classify(state, self.seen(batch))

  def show(self, state: TrainState, batch: core.Batch) -> core.Metrics:
    """Draws what the method shows of a host batch: title -> pictures [B,H,W,C]."""
    rng_views, rng = jax.random.split(jax.random.key(self.seed))
    return self.method.show(state, self.eval_views(rng_views, batch), rng)
