"""The one loop: `train_and_evaluate(config, workdir)`. It knows no method's name."""

import json
import math
import pathlib
import signal
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ssljax import (
  data,
  diagnostics,
  dispatch,
  pretrained,
  provenance,
  recipe,
  report,
  runs,
  sharding,
)
from ssljax.checkpoint import Checkpoints
from ssljax.core import Metrics, TrainState
from ssljax.evals import geometry
from ssljax.fields import as_path, config_errors
from ssljax.judge import Judge
from ssljax.recipe import Recipe
from ssljax.schedules import Plan
from ssljax.writer import Writer

IN_FLIGHT = 2  # dispatches the host runs ahead; more would pile up batches


class TrainingDivergedError(RuntimeError):
  """A metric is no longer a finite number; the message names it."""


def train_and_evaluate(config: ConfigDict, workdir: str | pathlib.Path) -> dict:
  """Trains what `config` says in the folder `workdir`, or goes on where it stopped.

  Returns {row: {name: value}} for raw pixels, the random and the trained encoder;
  empty where the data has no labels, or when SIGTERM ended the run early. Raises
  ConfigError, before anything compiles, for what cannot run, and
  TrainingDivergedError.
  """
  sharding.start_processes()
  workdir = as_path(workdir)
  recipe.check(config)
  with runs.owned(workdir):
    return train(config, workdir)


def train(config: ConfigDict, workdir: pathlib.Path) -> dict:
  """`train_and_evaluate` in a folder that is this run's alone."""
  goes_on = runs.check_same_run(config, workdir)
  splits = recipe.open_data(config, workdir if goes_on else None)
  plan = recipe.make_plan(config, len(splits.train), splits.train.num_classes)
  parts = recipe.build(config, plan)
  mesh = sharding.make_mesh()
  recipe.check_devices(config, mesh.size)
  blank = data.zeros(splits.train.spec(config.data.size), config.batch_size)
  shapes = recipe.trace(parts, blank)
  judge = Judge(config, parts, splits, mesh)
  checkpoints = Checkpoints(workdir, **config.checkpoint)
  identity = provenance.identify(splits)
  notes = provenance.check(checkpoints, identity, workdir)
  with Writer(workdir, config, plan) as writer, checkpoints:
    writer.say(summary(config, plan, shapes, mesh, checkpoints.latest or 0))
    for note in notes:
      writer.say(note)
    if jax.process_index() == 0:
      splits.train.save(workdir)
    report.picture_views(config, splits.train, workdir)
    loader = open_loader(config, splits.train)
    run = Run(config, parts, plan, mesh, judge, loader, identity, checkpoints, writer)
    judge.allowed(run.evaluators)
    init = dispatch.compile_init(parts.init, blank, mesh)
    state = run.restored(shapes) or pretrained.start(config, init(), mesh)
    state = run.train(state)
    if complaint := loader.complaint():
      writer.say(complaint)
    if int(state.step) < plan.total_steps:
      writer.say(f"Stopped at step {state.step} and saved; the same line continues.")
      return {}
    return report.finish(config, judge, init(), state, writer, workdir, identity)


def open_loader(config: ConfigDict, source: data.Source) -> data.Loader:
  """The process's share of the training batches."""
  with config_errors():
    return data.make_loader(
      source,
      config.batch_size,
      config.seed,
      size=config.data.size,
      in_memory=config.data.in_memory,
      workers=config.data.workers,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )


def summary(
  config: ConfigDict, plan: Plan, shapes: TrainState, mesh: Mesh, start: int
) -> str:
  """What is about to run, on what."""
  millions = sum(x.size for x in jax.tree.leaves(shapes.params)) / 1e6
  device = mesh.devices.flat[0].device_kind
  return (
    f"{config.method.name} on {config.data.name}: {config.encoder.name}, "
    f"{millions:.2f} M parameters, {plan.num_examples:,} examples, "
    f"steps {start:,} to {plan.total_steps:,} of {plan.batch_size} examples, "
    f"{mesh.size} x {device}. The first step compiles."
  )


class Run:
  """The steps of a run, and what happens between them."""

  def __init__(
    self,
    config: ConfigDict,
    parts: Recipe,
    plan: Plan,
    mesh: Mesh,
    judge: Judge,
    loader: data.Loader,
    identity: provenance.Identities,
    checkpoints: Checkpoints,
    writer: Writer,
  ):
    self.config, self.parts, self.plan, self.mesh = config, parts, plan, mesh
    self.judge, self.loader, self.identity = judge, loader, identity
    self.checkpoints, self.writer = checkpoints, writer
    every = config.evals.every_epochs * plan.steps_per_epoch
    self.eval_every = every if every and judge.possible else math.inf
    self.warning: str | None = None

  @property
  def evaluators(self) -> list[str]:
    """Those that will be asked, meanwhile or at the end."""
    meanwhile = ["knn"] if self.eval_every < self.plan.total_steps else []
    return list(dict.fromkeys([*meanwhile, *self.config.evals.at_end]))

  def restored(self, shapes: TrainState) -> TrainState | None:
    """The state of the newest checkpoint, where there is one."""
    step = self.checkpoints.latest
    if step is None:
      return None
    with config_errors():
      self.loader.check(self.checkpoints.read_meta()["data"], step)
    layout = sharding.state_sharding(shapes, self.mesh)
    return self.checkpoints.restore(shapes, layout)

  def train(self, state: TrainState) -> TrainState:
    """Steps to the end, or to SIGTERM.

    Nothing waits for the device between log points, save that the host stays a few
    dispatches ahead and no more. Metrics are read once the next dispatch is under
    way, so that the device never waits for the host either.
    """
    done, total = int(state.step), self.plan.total_steps
    k, log_every = self.config.steps_per_dispatch, self.config.log_every
    layout = jax.tree.map(lambda x: x.sharding, state)
    steps = dispatch.compile_steps(self.parts.step, layout, self.mesh, k)
    stops = log_every, self.config.checkpoint.every_steps, self.eval_every
    each = dispatch.counts(done, total, k, stops)
    batches = dispatch.stacked(self.loader.iterate(done), each, k)
    self.writer.start(done)
    in_flight, unread = [], None
    with Sigterm() as sigterm, jax.transfer_guard("disallow"):
      for i, (count, batch) in enumerate(data.prefetch(batches, 2)):
        state, metrics = steps(state, *dispatch.put(count, batch, self.mesh))
        done += count
        in_flight = [*in_flight, metrics][-IN_FLIGHT:]
        jax.block_until_ready(in_flight[0])
        if unread:
          unread = self.read(*unread)
        if done % log_every == 0 or done == total:
          unread = done, metrics
        stop = sigterm.stops(i, self.checkpoints)
        if stop or self.is_pause(done):
          unread = self.read(*unread) if unread else None
          with jax.transfer_guard("allow"), self.writer.pause():
            self.pause(done, state, metrics, stop)
          if stop:
            break
    return state

  def read(self, step: int, metrics: Metrics) -> None:
    """Fetches metrics, writes them, and says what is wrong with them."""
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    self.check_finite(step, values)
    self.writer.write(step, values, images=step * self.plan.batch_size)
    if step > self.plan.steps_per_epoch:  # before, it may look collapsed and not be
      warning = diagnostics.collapse(values)
      if warning and not self.warning:
        self.writer.say(f"step {step}: {warning}")
      self.warning = warning

  def is_pause(self, done: int) -> bool:
    """Whether an evaluation or a checkpoint is due."""
    due = done % self.eval_every == 0 or self.checkpoints.is_due(done)
    return due or done == self.plan.total_steps

  def pause(self, done: int, state: TrainState, metrics: Metrics, stop: bool) -> None:
    """Evaluates and saves what is due; saves in any case where the run stops."""
    self.check_finite(done, jax.device_get(metrics))
    end = done == self.plan.total_steps
    if done % self.eval_every == 0 and not end:
      seen = self.judge.features(state)
      scores = self.judge.scores(seen, "classifier", "knn")
      scores["rankme"] = geometry.rankme(seen.test_x)
      self.writer.write(done, scores)
      self.writer.say(f"step {done}: kNN {scores['knn']:.1f} %")
    if stop or end or self.checkpoints.is_due(done):
      finite = all_finite((state.params, state.target))
      self.check_finite(done, {"a parameter": 0.0 if finite else math.nan})
      self.checkpoints.save(done, state, self.meta(done))

  def meta(self, done: int) -> dict[str, Any]:
    """What a checkpoint holds besides the state."""
    return {
      "config": json.loads(self.config.to_json()),
      "data": self.loader.state(done),
      "identity": self.identity,
      "plan": self.plan._asdict(),
      "spec": self.loader.spec,
    }

  def check_finite(self, step: int, values: Metrics) -> None:
    """TrainingDivergedError names the first metric that is no number."""
    for name, value in values.items():
      if not math.isfinite(value):
        kept = self.checkpoints.latest
        raise TrainingDivergedError(
          f"{name} is {value} at step {step}; the last good checkpoint "
          + (f"is that of step {kept}" if kept else "would have been the first")
          + "; a lower optimizer.learning_rate is the usual remedy"
        )


@jax.jit
def all_finite(tree: Any) -> jax.Array:
  """Whether every float of a tree is a number: metrics tell of the step before."""
  floats = (x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating))
  return jnp.stack([jnp.isfinite(x).all() for x in floats]).all()


class Sigterm:
  """Remembers SIGTERM while it is entered, so that the loop can end in order.

  Several processes must end at the same step: there JAX's own service listens.
  """

  def __enter__(self) -> "Sigterm":
    self.received = False
    self.alone = jax.process_count() == 1
    if self.alone:
      self._before = signal.signal(signal.SIGTERM, self._receive)
    return self

  def stops(self, dispatch: int, checkpoints: Checkpoints) -> bool:
    """Whether the run ends after this dispatch, on every process alike."""
    return self.received if self.alone else checkpoints.reached_preemption(dispatch)

  def _receive(self, *_) -> None:
    self.received = True

  def __exit__(self, *_) -> None:
    if self.alone:
      signal.signal(signal.SIGTERM, self._before)
