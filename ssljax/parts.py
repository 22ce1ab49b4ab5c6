"""The parts of a run, and what they do with examples as the host gives them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from ssljax import core
from ssljax.core import Method, TrainState, Views


class Parts(NamedTuple):
  """What a config builds: the parts of a run."""

  method: Method
  tx: optax.GradientTransformationExtraArgs
  views: Views
  eval_views: Views
  rates: Callable[[jax.Array], core.Metrics]  # step -> learning rate, weight decay
  watch: core.Watch
  seed: int
  probe: core.Probe | None = None
  microbatch: int = 0  # examples that pass the networks at once; 0: the whole batch

  def init(self, batch: core.Batch) -> TrainState:
    """The state at step 0, shaped by one batch as the host gives it."""
    return core.init_state(
      self.method, self.tx, self.views, self.seed, batch, self.probe
    )

  def step(self, state: TrainState, batch: core.Batch):
    """`core.train_step` with these parts, and the learning rate among its metrics."""
    rates = self.rates(state.step)
    state, metrics = core.train_step(
      self.method,
      self.tx,
      self.views,
      self.seed,
      state,
      batch,
      self.watch,
      self.probe,
      self.microbatch,
    )
    return state, {**metrics, **rates}

  def gradients(self, state: TrainState, batch: core.Batch):
    """`core.gradients` of a step with these parts."""
    method, views, seed = self.method, self.views, self.seed
    return core.gradients(
      method, views, seed, state, batch, self.probe, self.microbatch
    )

  def check_devices(self, state: TrainState, batch: core.Batch, count: int) -> str:
    """A sentence where parts of a batch do not lie whole on `count` devices, or ""."""
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
    """The views that the next step takes of these examples."""
    return self.views(core.step_keys(self.seed, state.step)[0], batch)

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
